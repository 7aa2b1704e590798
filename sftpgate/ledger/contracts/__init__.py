"""What people decided about files that contracts hold: approvals, and the files that undo what a run did."""
