"""The keys directory: users, their keys and passwords, and the server's own host keys."""
