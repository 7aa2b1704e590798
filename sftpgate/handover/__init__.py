"""The hand-over: changes of names in store and drop, recorded in the ledger before they are made on disk."""
