"""Stages for tests with real processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from zturbo import ReorderStage, Stage, Task


class Add(Stage):
    """x + 1."""

    def process(self, task: Task) -> Task:
        task.content += 1
        return task


class Count(Stage):
    """n gives 0 .. n - 1."""

    def process(self, task: Task) -> Iterator[Task]:
        for i in range(task.content):
            yield Task(i)


class Odd(Stage):
    """What it does depends on the content."""

    def process(self, task: Task) -> Any:
        match task.content:
            case "raise":
                raise ValueError("on purpose")
            case "none":
                return None
            case "five":
                return 5
            case "yields five":
                return iter([Task("first"), 5])
            case "unpackable":
                return Task(object())
            case "large":
                return Task(b"x" * 2_000_000)
            case "long text":
                return Task("x" * 2_000_000)
            case "string":
                return "text"
        return task


class Ordered(ReorderStage):
    """Appends the number of tasks before."""

    def reset(self) -> None:
        self.before = 0

    def process(self, task: Task) -> Task:
        self.before += 1
        return Task([task.content, self.before - 1])


class Sum(ReorderStage):
    """A running sum: wrong if anything is out of order, missing or twice."""

    interleave = True

    def reset(self) -> None:
        self.total = 0

    def process(self, task: Task) -> Task:
        self.total = (self.total * 31 + task.content) % 1_000_003
        return Task(self.total)


class Slow(Stage):
    """Takes its time."""

    def __init__(self, seconds: float = 0.01) -> None:
        super().__init__()
        self.seconds = seconds

    def process(self, task: Task) -> Task:
        time.sleep(self.seconds)
        return task


class Gate(Stage):
    """Waits until a file is there."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def process(self, task: Task) -> Task:
        while not self.path.exists():
            time.sleep(0.01)
        return task


class BadInit(Stage):
    """Cannot start."""

    def init(self, worker_id: int = 0) -> None:
        raise RuntimeError("no model file")

    def process(self, task: Task) -> Task:
        return task


class Array(Stage):
    """An image comes, an image goes."""

    def process(self, task: Task) -> Task:
        return Task(np.asarray(task.content) + np.uint8(1))


class Meta(Stage):
    """Says who it was."""

    def process(self, task: Task) -> Task:
        return Task(os.getpid(), {"seen": task.content}, parent_task=task)


class NotAStage:
    """No stage."""
