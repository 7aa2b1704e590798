"""The ledger: the database of arrivals, runs and audit events. The only package that speaks SQL."""
