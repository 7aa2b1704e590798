"""What admins and programs see of a running gate: metrics and health, in a process of its own."""
