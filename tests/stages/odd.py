"""Stages that raise in odd ways, for tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from zturbo import BatchStage, ReorderStage, Stage, Task

__all__ = [
    "RAISED",
    "DeadlyAsyncReset",
    "DeadlyBatchReset",
    "DeadlyBeside",
    "DeadlyId",
    "DeadlyOrderedReset",
    "DeadlyReset",
    "DeadlyStart",
    "Odd",
    "OddInit",
]


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


class DeadlyBeside(Stage):
    """What one of its tasks has started kills its worker, once that task has ended."""

    def process(self, task: Task) -> Any:
        if task.content == 7:
            die_after_it()
        return task


def die_after_it() -> None:
    """Kill this process as soon as the task that runs has ended."""
    from zturbo.runtime.process.running import RunningNote

    end = RunningNote.end

    def deadly(running_note: RunningNote) -> None:
        end(running_note)
        os._exit(9)

    RunningNote.end = deadly  # type: ignore[method-assign]


class DeadlyReset(Stage):
    """Its state cannot be made: its worker dies of that."""

    def reset(self) -> None:
        os._exit(9)

    def process(self, task: Task) -> Any:
        return task


class DeadlyAsyncReset(DeadlyReset):
    async def process(self, task: Task) -> Any:
        return task


class DeadlyBatchReset(BatchStage):
    def reset(self) -> None:
        os._exit(9)

    def process_batch(self, tasks: list[Task]) -> Any:
        return tasks


class DeadlyOrderedReset(ReorderStage):
    interleave = True

    def reset(self) -> None:
        os._exit(9)

    def process(self, task: Task) -> Any:
        return task


class DeadlyId(ReorderStage):
    """Dies of the question for one task's id."""

    def get_sequence_id(self, task: Task) -> int:
        if task.content == 2:
            os._exit(9)
        return int(task.content)

    def process(self, task: Task) -> Any:
        return task


class DeadlyStart(Stage):
    """Dies as soon as it has started."""

    def init(self, worker_id: int = 0) -> None:
        from zturbo.runtime.process.childside import ChildSide

        ready = ChildSide.ready

        def deadly(side: ChildSide, **info: Any) -> None:
            ready(side, **info)
            os._exit(9)

        ChildSide.ready = deadly  # type: ignore[method-assign]

    def process(self, task: Task) -> Any:
        return task


class Given(Stage):
    """Has what it was made with."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given = given

    def process(self, task: Task) -> Task:
        return Task(self.given)
