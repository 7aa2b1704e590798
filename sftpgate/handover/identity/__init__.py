"""Whose store, drop and ledger are: what belongs to one gate is kept together, and told from what does not."""
