"""A user's code in our processes."""
