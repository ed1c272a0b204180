"""A node: starts, watches and restarts the processes of a host."""
