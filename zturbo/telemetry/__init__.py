"""What the numbers of the processes mean: times per task, rates, and which stage limits a pipeline."""
