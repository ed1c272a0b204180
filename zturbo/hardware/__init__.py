"""CPUs and GPUs: those that a host has, and those that each worker gets."""
