"""Members of the broker: workers and sinks."""
