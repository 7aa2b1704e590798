"""Uploads: from an upload's first byte to its arrival in the store."""
