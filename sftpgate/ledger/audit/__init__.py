"""The audit record (promise P8): events, the chain that binds them, and who acted."""
