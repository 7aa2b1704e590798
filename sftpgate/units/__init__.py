"""What a machine's own service managers read: systemd's units, a line for cron, a journal. Each can be copied as it stands."""
