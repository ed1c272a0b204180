"""CPUs and GPUs: which there are, and which a worker gets."""
