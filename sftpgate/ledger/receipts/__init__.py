"""Receipts: what senders were told of their files, and where they read it."""
