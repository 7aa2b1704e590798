"""The processes of a serving gate, put together from their parts."""
