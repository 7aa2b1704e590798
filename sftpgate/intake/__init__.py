"""The hand-over: from an upload's first byte to an arrival in the store, and everything that changes names there."""
