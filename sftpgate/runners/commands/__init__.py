"""A tool's command: as whom it runs, how it is started, watched and ended."""
