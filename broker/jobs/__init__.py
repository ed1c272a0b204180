"""Jobs of the broker."""
