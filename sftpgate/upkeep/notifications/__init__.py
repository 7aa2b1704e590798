"""Whoever is to be told of an event is told: a follower of the record, an outbox, and the ways out."""
