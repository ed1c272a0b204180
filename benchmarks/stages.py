"""The steps as Stage classes, as a user writes them."""

from __future__ import annotations

from collections.abc import Iterator

import zturbo
from benchmarks import frames, steps
from zturbo import ReorderStage, Stage, Task

__all__ = [
    *(
        "Add",
        "Count",
        "Feature",
        "Film",
        "Length",
        "Load",
        "Nap",
        "Read",
        "Same",
        "SlowLength",
        "Stamp",
        "Write",
    ),
    "class_name",
]


def class_name(step: str) -> str:
    """The class for a step, such as ``SlowLength`` for ``slow_length``."""
    return step.title().replace("_", "")


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


class Count(Stage):
    """Makes many numbers of one task."""

    def process(self, task: Task) -> Iterator[Task]:
        """Give the numbers from 1 to the content."""
        for number in steps.count(task.content):
            yield Task(number)


class Film(Stage):
    """Makes many frames of one task."""

    def process(self, task: Task) -> Iterator[Task]:
        """Give as many frames as the content says."""
        for i in range(task.content):
            yield Task(frames.make(i, zturbo.empty(frames.SHAPE, "u1")), owned=True)


class Read(Stage):
    """Looks into a frame."""

    def process(self, task: Task) -> Task:
        """Give the same task."""
        steps.read(task.content)
        return task


class Stamp(Stage):
    """Writes into a copy of a frame."""

    def process(self, task: Task) -> Task:
        """Give the copy."""
        return Task(frames.stamp(task.content, zturbo.empty(frames.SHAPE, "u1")), owned=True)


class Nap(Stage):
    """Sleeps."""

    def process(self, task: Task) -> Task:
        """Sleep as many seconds as the content says."""
        steps.nap(task.content)
        return task


class Length(Stage):
    """Sleeps 5 ms."""

    def process(self, task: Task) -> Task:
        """Give the number of bytes."""
        return Task(steps.length(task.content))


class SlowLength(Stage):
    """Sleeps half a millisecond."""

    def process(self, task: Task) -> Task:
        """Give the number of bytes."""
        return Task(steps.slow_length(task.content))


class Load(Stage):
    """Makes batches of small frames of one task."""

    def process(self, task: Task) -> Iterator[Task]:
        """Give as many batches as the content says."""
        for batch in steps.load(task.content):
            yield Task(batch, owned=True)


class Feature(Stage):
    """Computes on a batch."""

    def process(self, task: Task) -> Task:
        """Give a number for each frame."""
        return Task(steps.feature(task.content))


class Write(ReorderStage):
    """Writes lines in order."""

    def process(self, task: Task) -> Task:
        """Write one."""
        return Task(steps.write(task.content))
