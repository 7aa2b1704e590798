"""How much a user may send and have waiting, and how many directories."""
