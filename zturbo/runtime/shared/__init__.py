"""Large contents in shared memory, for processes of one host."""
