"""The processes that links join: workers and sinks."""
