"""Stages that give contents which are hard to carry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from zturbo import BatchStage, ReorderStage, Stage, Task, register


class Riddle:
    """A content that packs, and that no process can unpack."""


def _unpack(value: Any) -> Any:
    raise ValueError("this cannot be unpacked")


register(Riddle, "riddle", lambda riddle: 1, _unpack)


class Give(Stage):
    """A riddle in place of 2; in the meta in place of 4."""

    def process(self, task: Task) -> Task:
        if task.content == 2:
            return Task(Riddle())
        return Task(task.content, {"riddle": Riddle()} if task.content == 4 else None)


class Same(Stage):
    def process(self, task: Task) -> Task:
        return Task(task.content)


class SameAsync(Stage):
    async def process(self, task: Task) -> Task:
        return Task(task.content)


class SameBatch(BatchStage):
    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return [Task(task.content) for task in tasks]


class SameInOrder(ReorderStage):
    def process(self, task: Task) -> Task:
        return Task(task.content)


class SameById(ReorderStage):
    def get_sequence_id(self, task: Task) -> int:
        return int(task.content)

    def process(self, task: Task) -> Task:
        return Task(task.content)


class Again(Stage):
    """One buffer, one large buffer, one dict and one meta, given again and again."""

    def process(self, task: Task) -> Iterator[Task]:
        small, large = np.zeros(4, np.uint8), np.zeros(50_000, np.uint8)
        plain: dict[str, int] = {}
        for i in range(5):
            small[:] = large[:] = plain["i"] = i
            yield Task([small, large, plain], plain)
