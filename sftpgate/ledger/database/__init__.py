"""The database below the ledger: its connection, its tables, and how they became what they are."""
