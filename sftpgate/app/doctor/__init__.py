"""The checks of a set-up: what is wrong, and what to do about it."""
