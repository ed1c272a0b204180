"""What several kinds of tests use: clusters, hosts, clocks, disks, processes that die at a chosen place."""
