"""A user's code is made of these: stages, tasks, jobs, results, options."""
