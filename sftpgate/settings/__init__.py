"""The settings: one frozen tree, its tables, and how it is read. See ``tree``."""
