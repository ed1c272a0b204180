"""Four small stages: count up, multiply by seven, divide by seven, and negate in order."""

from __future__ import annotations

from collections.abc import Iterator

from zturbo import ReorderStage, Stage, Task


class Count(Stage):
    """Gives the numbers x, x + 1, ... up to x + y for ``[x, y]``."""

    def process(self, task: Task) -> Iterator[Task]:
        """Give a task for each number."""
        first, count = task.content
        for number in range(first, first + count + 1):
            yield Task(number, {"index": number - first})


class Times(Stage):
    """Multiplies.

    Args:
        factor: by what.
    """

    def __init__(self, factor: int = 7) -> None:
        super().__init__()
        self.factor = factor

    def process(self, task: Task) -> Task:
        """Give the product, in the same task."""
        task.content *= self.factor
        return task


class Divide(Stage):
    """Divides by seven."""

    def process(self, task: Task) -> Task:
        """Give the quotient, as a new task."""
        return Task(task.content // 7, parent_task=task)


class Negate(ReorderStage):
    """Changes the sign of each number, in the order in which they were counted."""

    def get_sequence_id(self, task: Task) -> int:
        """The number that Count gave the task."""
        index: int = task.meta["index"]
        return index

    def process(self, task: Task) -> Task:
        """Give the negative number."""
        return Task(-task.content)
