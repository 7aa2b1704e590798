"""Expected files: what the ledger keeps of them."""
