"""The processes of a gate: the supervisor that owns the port, its workers, and what the kernel lets them do."""
