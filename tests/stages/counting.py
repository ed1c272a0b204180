"""Stages that give, drop and fail by their input alone, so that each stage's counts are known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from zturbo import ReorderStage, Stage, Task

__all__ = ["Fan", "Keep", "KeepSlowly", "Ordered", "Roots", "truth"]


class Roots(Stage):
    """One child for each number of a list."""

    def process(self, task: Task) -> Iterator[Task]:
        return map(Task, task.content)


class Fan(Stage):
    """0 to 3 children, or a failure after two of them."""

    def process(self, task: Task) -> Iterator[Task]:
        for i in range(task.content % 4):
            if task.content % 7 == 3 and i == 2:
                raise ValueError("half way")
            yield Task(task.content * 10 + i)


class Keep(Stage):
    """One to one; some are dropped, some fail."""

    def process(self, task: Task) -> Task | None:
        if task.content % 11 == 1:
            raise ValueError("not this one")
        return None if task.content % 5 == 0 else task


class KeepSlowly(Keep):
    """The same, so that there is time for a death."""

    def process(self, task: Task) -> Task | None:
        time.sleep(0.005)
        return super().process(task)


class Ordered(ReorderStage):
    """The same, in order."""

    def process(self, task: Task) -> Task | None:
        if task.content % 13 == 2:
            raise ValueError("nor this one")
        return None if task.content % 17 == 0 else task


def truth(roots: list[int]) -> tuple[list[tuple[str, int, int]], int, int]:
    """((stage, outputs and drops and failures, failures) of each stage, results, failed tasks)."""
    contents: list[Any] = roots
    counts = [("roots", max(1, len(roots)), 0)]
    for cls in (Fan, Keep, Ordered):
        stage, given, failed, below = cls(), 0, 0, []
        for content in contents:
            before = len(below)
            try:
                out = stage.process(Task(content))
                for child in [out] if isinstance(out, Task) else out or ():
                    below.append(child.content)
                given += max(1, len(below) - before) if not isinstance(out, Task) else 1
            except ValueError:
                failed += 1
                given += len(below) - before + 1
        counts.append((cls.__name__.lower(), given, failed))
        contents = below
    return counts, len(contents), sum(failed for _, _, failed in counts)
