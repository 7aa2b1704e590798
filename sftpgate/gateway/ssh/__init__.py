"""SSH: algorithms, logins, host keys, and the fast path for the bytes of a connection."""
