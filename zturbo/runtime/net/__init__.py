"""Sockets, and the bounds of all that comes over them."""
