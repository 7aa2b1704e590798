"""Which connections are admitted before SSH begins: bans, limits, PROXY headers."""
