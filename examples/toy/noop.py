"""Stages that do almost nothing, to measure the cost of the processes around them."""

from __future__ import annotations

import time

from zturbo import Stage, Task

__all__ = ["Add", "Length", "Same"]


class Add(Stage):
    """Adds 1."""

    def process(self, task: Task) -> Task:
        """Add 1 to the content, and give the same task."""
        task.content += 1
        return task


class Same(Stage):
    """Gives its input unchanged."""

    def process(self, task: Task) -> Task:
        """Give the same task."""
        return task


class Length(Stage):
    """Sleeps, then gives the length of the content.

    Args:
        seconds: seconds to sleep for each task.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    def process(self, task: Task) -> Task:
        """Give the length of the content."""
        if self.seconds:
            time.sleep(self.seconds)
        return Task(len(task.content))
