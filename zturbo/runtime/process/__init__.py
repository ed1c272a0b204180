"""A process of ours, before and around the code that it runs: start, descriptors, children, forks."""
