"""A page in the browser, and metrics: a viewer of the broker, in a process of its own."""

__all__ = ["DEFAULT_BIND"]

DEFAULT_BIND = "127.0.0.1:5580"
"""Address of the page where none is given."""
