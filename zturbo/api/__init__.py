"""The classes that a user's code is made of: stages, tasks, jobs, results, options."""
