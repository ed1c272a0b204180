"""Stages that raise in odd ways, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from zturbo import Stage, Task

__all__ = ["RAISED", "Odd", "OddInit"]


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Panic(BaseException):
    pass


RAISED: list[Callable[[], BaseException]] = [
    lambda: ValueError("cannot read caf\udce9.mp4"),
    NoText,
    lambda: Panic("of an extension"),
    KeyboardInterrupt,
    lambda: asyncio.CancelledError(),
    GeneratorExit,
    MemoryError,
]


class Odd(Stage):
    """Raises one of the errors at each task with a number that has one."""

    def process(self, task: Task) -> Any:
        if task.content < len(RAISED):
            task.meta["handle"] = object()
            raise RAISED[task.content]()
        return task


class OddInit(Stage):
    """Does not start, for a reason that is hard to tell."""

    def init(self, worker_id: int = 0) -> None:
        raise Panic("cannot read caf\udce9.mp4")

    def process(self, task: Task) -> Any:
        return task
