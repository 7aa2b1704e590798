"""Pure rules: what is allowed, eligible, complete and due, decided from plain values. No I/O and no clock."""
