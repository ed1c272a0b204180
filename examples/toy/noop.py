"""A stage that does next to nothing, to measure what everything around it costs."""

from __future__ import annotations

from zturbo import Stage, Task

__all__ = ["Add"]


class Add(Stage):
    """x + 1."""

    def process(self, task: Task) -> Task:
        """The same task, its content one more."""
        task.content += 1
        return task
