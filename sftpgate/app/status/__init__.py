"""The state of a gate, as one value: what waits, what is held, who works on what, and what somebody should do about it."""
