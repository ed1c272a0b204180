"""Four small stages: count up, times seven, divided by seven, negated in order."""

from __future__ import annotations

from collections.abc import Iterator

from zturbo import ReorderStage, Stage, Task


class Count(Stage):
    """``[x, y]`` gives x, x + 1, ... up to x + y."""

    def process(self, task: Task) -> Iterator[Task]:
        """One task for each number."""
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
        """The product, in the same task."""
        task.content *= self.factor
        return task


class Divide(Stage):
    """Divides by seven."""

    def process(self, task: Task) -> Task:
        """The quotient, as a new task."""
        return Task(task.content // 7, parent_task=task)


class Negate(ReorderStage):
    """Changes the sign, one after another in the order of counting."""

    def get_sequence_id(self, task: Task) -> int:
        """The place that Count gave it."""
        index: int = task.meta["index"]
        return index

    def process(self, task: Task) -> Task:
        """The negative."""
        return Task(-task.content)
