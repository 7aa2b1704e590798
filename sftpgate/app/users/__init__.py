"""Users, their keys, and the server's own: what admins see and change. A running server follows within a second or two."""
