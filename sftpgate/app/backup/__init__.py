"""A whole gate, written beside it while it runs, and brought back on another machine."""
