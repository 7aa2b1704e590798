"""What follows from contracts in a change: approvals of files that one holds, and texts that one converts."""
