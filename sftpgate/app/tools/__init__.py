"""Tools: what they are pointed at, how they fare, whether they could run, and what admins change about them."""
