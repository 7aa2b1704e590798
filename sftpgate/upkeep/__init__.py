"""What keeps the gate in order without anybody asking: sweeps, recovery, retention, notices, verification."""
