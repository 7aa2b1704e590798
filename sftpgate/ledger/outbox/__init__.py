"""Messages that somebody is to be told, and who they go to: what is due, and what became of it."""
