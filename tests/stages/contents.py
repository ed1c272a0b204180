"""Stages that give contents which are hard to carry."""

from __future__ import annotations

import ctypes
import enum
import os
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


class Mine:
    """A content whose unpacking ends a worker."""

    def __init__(self, how: str) -> None:
        self.how = how


def _explode(how: str) -> Mine:
    if how == "interrupt":
        raise KeyboardInterrupt
    if "ZTURBO_WORKER" in os.environ:
        os._exit(9) if how == "exit" else ctypes.string_at(0)
    return Mine(how)


register(Mine, "mine", lambda mine: mine.how, _explode)


class GiveMines(Stage):
    """A mine deep inside of 7, and in the meta of 13; one that only raises in place of 19."""

    def process(self, task: Task) -> Task:
        mines = {7: [1, {"deep": Mine("exit")}], 19: Mine("interrupt")}
        meta = {13: {"mine": Mine("segfault")}, 20: {"plain": 1}}
        return Task(mines.get(task.content, task.content), meta.get(task.content))


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
        small, large = np.zeros(4, np.uint8), np.zeros(300_000, np.uint8)
        plain: dict[str, int] = {}
        for i in range(5):
            small[:] = large[:] = plain["i"] = i
            yield Task([small, large, plain], plain)


class Colour(enum.Enum):
    RED = 1


register(Colour, "colour", lambda colour: colour.value, Colour)
