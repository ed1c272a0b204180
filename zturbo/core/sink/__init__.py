"""The sink's machine."""
