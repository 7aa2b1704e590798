"""Runners: from a waiting arrival to its archive, exactly once. Claims, the commands of tools, reports."""
