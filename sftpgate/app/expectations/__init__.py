"""Expected files: what is expected by the settings, what is the case, and what could be expected."""
