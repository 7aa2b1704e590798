"""Receipts for senders: signed statements of what became of each file (docs/receipts)."""
