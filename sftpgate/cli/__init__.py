"""The command line: reads the settings, puts the parts together, and talks to people and scripts."""
