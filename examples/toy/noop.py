"""Stages that do next to nothing, to measure what everything around them costs."""

from __future__ import annotations

import time

from zturbo import Stage, Task

__all__ = ["Add", "Length", "Same"]


class Add(Stage):
    """x + 1."""

    def process(self, task: Task) -> Task:
        """The same task, its content one more."""
        task.content += 1
        return task


class Same(Stage):
    """What comes, goes."""

    def process(self, task: Task) -> Task:
        """The same task."""
        return task


class Length(Stage):
    """Takes its time, and gives the length.

    Args:
        seconds: of each task.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    def process(self, task: Task) -> Task:
        """The content's length."""
        if self.seconds:
            time.sleep(self.seconds)
        return Task(len(task.content))
