"""The server's own keys, and their rotation."""
