"""What senders see in the drop, and what they do there besides writing."""
