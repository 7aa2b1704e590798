"""A gate on a machine: the first one to try things out, and the service that systemd starts."""
