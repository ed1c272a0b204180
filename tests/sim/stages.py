"""Stages for the simulated world. They fan out, drop, fail, kill, and keep state, by their input alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

from zturbo import BatchStage, ReorderStage, Stage, Task
from zturbo.api.stage_kinds import FunctionStage

__all__ = ["PIPELINES", "Die", "Flaky", "Poison", "Wild"]


class Die(BaseException):
    """The process that runs this dies."""


class Fan(Stage):
    """0 to 5 children; some inputs fail half way."""

    def process(self, task: Task) -> Iterator[Task]:
        value = task.content
        for i in range(value % 6):
            if value % 11 == 3 and i == 2:
                raise ValueError(f"half way of {value}")
            yield Task(value * 7 + i, {"i": i} if value % 3 == 0 else None)


class Map(Stage):
    """One to one; some inputs are dropped, some fail."""

    def process(self, task: Task) -> Task | None:
        value = task.content
        if value % 13 == 5:
            return None
        if value % 17 == 6:
            raise KeyError(value)
        task.content = value + 1
        return task


def deadly(task: Task) -> None:
    """Some inputs kill whoever runs them; in the oracle's process they fail instead."""
    if task.content % 61 == 7:
        if Poison.deadly:
            raise Die
        raise RuntimeError("poison")


class Poison(Stage):
    """Some inputs kill, see :func:`deadly`."""

    deadly = True

    def process(self, task: Task) -> Task:
        deadly(task)
        return task


class Half(Stage):
    """Two children; some inputs kill whoever runs them after the first one."""

    def process(self, task: Task) -> Iterator[Task]:
        yield Task(task.content)
        deadly(task)
        yield Task(task.content + 1)


class Batch(BatchStage):
    """Up to four at once; some are dropped, some spoil their batch, some kill whoever runs them."""

    max_batch = 4

    def process_batch(self, tasks: list[Task]) -> list[Task | None]:
        for task in tasks:
            deadly(task)
        for task in tasks:
            if task.content % 17 == 6:
                raise KeyError(task.content)
        return [None if task.content % 13 == 5 else Task(task.content + 1) for task in tasks]


class Async(Stage):
    """Four at a time, which finish in another order; some are dropped, some fail, some kill."""

    max_concurrency = 4
    pause = 0.02
    """Seconds; none where one process runs them one by one."""

    async def process(self, task: Task) -> Task | None:
        value = task.content
        await asyncio.sleep(Async.pause * (value * 7 % 5))
        deadly(task)
        await asyncio.sleep(Async.pause * (value % 3))
        if value % 13 == 5:
            return None
        if value % 17 == 6:
            raise KeyError(value)
        return Task(value + 1)


class AsyncFan(Stage):
    """As :class:`Fan`, three at a time."""

    max_concurrency = 3

    async def process(self, task: Task) -> AsyncIterator[Task]:
        value = task.content
        for i in range(value % 6):
            await asyncio.sleep(Async.pause * (value % 4))
            if value % 11 == 3 and i == 2:
                raise ValueError(f"half way of {value}")
            yield Task(value * 7 + i, {"i": i} if value % 3 == 0 else None)


class Sum(ReorderStage):
    """The running sum: wrong if anything is out of order, missing, or twice."""

    interleave = True

    def reset(self) -> None:
        self.total = 0

    def process(self, task: Task) -> Task:
        self.total = (self.total * 31 + task.content) % 1_000_003
        return Task(self.total)


class Last(ReorderStage):
    """Ordered, one job at a time, and fans out."""

    def reset(self) -> None:
        self.before = 0

    def process(self, task: Task) -> list[Task]:
        out = [Task(task.content - self.before), Task(task.content)]
        self.before = task.content
        return out[: 1 + task.content % 2]


class Sticky(Stage):
    """Not ordered, and sees all of a job: wrong if its state, made once and cleared, is another job's."""

    sticky = True
    job_slots = 2

    def init(self, worker_id: int = 0) -> None:
        super().init(worker_id)
        self.seen: list[int] = []

    def reset(self) -> None:
        self.seen.clear()

    def process(self, task: Task) -> Task | Iterator[Task]:
        self.seen.append(task.content)
        value = (sum(self.seen) + 31 * len(self.seen)) % 1_000_003
        return Task(value) if value % 3 else iter([Task(value), Task(task.content)])


class Shares(Stage):
    """Sticky too; all of a job's state is made in ``reset()``."""

    sticky = True
    interleave = True

    def reset(self) -> None:
        self.seen: list[int] = []

    def process(self, task: Task) -> Task | None:
        self.seen.append(task.content)
        return Task(sum(self.seen) % 10_007) if len(self.seen) % 5 else None


class Keyed(Stage):
    """Gives each an id in its meta: some twice, some not at all, some below 0; there are gaps too."""

    def process(self, task: Task) -> Task | Iterator[Task]:
        value = task.content
        key = {"at": value % 97 - 1 if value % 5 else str(value)} if value % 7 else None
        task = Task(value, key)
        return iter([task, Task(value + 1, {"at": value % 113})]) if value % 2 else task


class Placed(ReorderStage):
    """The running sum in the order of the ids that :class:`Keyed` gives."""

    interleave = True

    def reset(self) -> None:
        self.total = 0

    def get_sequence_id(self, task: Task) -> int:
        place: int = task.meta["at"]
        return place

    def process(self, task: Task) -> Task:
        self.total = (self.total * 31 + task.content) % 1_000_003
        return Task(self.total)


class Wild(Stage):
    """Each execution gives another fan-out: [input, execution, place, count]."""

    deterministic = False
    chance = random.Random()
    """The world's, so that it can be replayed."""

    def process(self, task: Task) -> Task | Iterator[Task]:
        execution = Wild.chance.randbytes(6).hex()
        count = int(execution[:4], 16) % 4
        outputs = [Task([task.content, execution, i, count]) for i in range(count)]
        return outputs[0] if count == 1 else iter(outputs)


class Flaky(Stage):
    """Three children, or fewer and then a failure; what has succeeded once does so ever after."""

    chance = random.Random()
    """The world's."""
    settled: set[int] = set()  # noqa: RUF012 - the world's too
    """Contents that have succeeded."""

    def process(self, task: Task) -> Iterator[Task]:
        value = task.content
        for i in range(3):
            if (
                value % 3 == 1
                and i == value % 4
                and value not in Flaky.settled
                and Flaky.chance.random() < 0.7
            ):
                raise OSError(value)
            yield Task(value * 3 + i)
        Flaky.settled.add(value)


class Pass(Stage):
    """One to one."""

    def process(self, task: Task) -> Task:
        return task


def some(content: int, times: int) -> Iterator[int]:
    """A plain function: up to three times, or a failure half way."""
    for i in range(content % 4):
        if content % 11 == 3 and i == 2:
            raise ValueError(f"half way of {content}")
        yield content * times + i


def few(content: int) -> int | None:
    """A plain function: one to one, but for those it drops, and those that fail."""
    if content % 17 == 6:
        raise KeyError(content)
    return None if content % 13 == 5 else content + 1


class Some(FunctionStage):
    """The first of them."""

    def __init__(self) -> None:
        super().__init__(some, times=7)


class Few(FunctionStage):
    """The second."""

    def __init__(self) -> None:
        super().__init__(few)


PIPELINES: dict[str, list[type[Stage]]] = {
    "plain": [Map, Map],
    "fan": [Fan, Map, Fan],
    "ordered": [Fan, Map, Sum, Map],
    "first": [Sum, Fan],
    "twice": [Map, Sum, Fan, Last],
    "poison": [Fan, Poison, Map],
    "poisoned-order": [Map, Poison, Sum],
    "wild": [Map, Wild, Pass],
    "half-poison": [Map, Half, Pass, Sum],
    "batch": [Fan, Batch, Map],
    "batched-order": [Batch, Sum, Batch],
    "async": [AsyncFan, Async, Map],
    "async-order": [AsyncFan, Sum, AsyncFan],
    "flaky": [Flaky, Pass, Sum, Pass],
    "by-id": [Fan, Keyed, Placed],
    "keyed": [Fan, Map, Keyed],
    "keyed-order": [Fan, Sum, Keyed],
    "sticky": [Fan, Sticky, Map, Shares],
    "sticky-first": [Shares, Fan, Sticky],
    "function": [Some, Few, Map],
    "function-order": [Few, Sum, Some],
    "as-they-come": [Fan, Map, Fan],
    "by-root": [Fan, Map, Fan],
}
"""Pipelines that worlds choose from."""

ORDERS = {"keyed": "meta:at", "keyed-order": "meta:at", "as-they-come": "none", "by-root": "roots"}
"""Of the results, where it is not that of paths."""

DEADLY: set[type[Stage]] = {Poison, Half, Batch, Async}
"""Stages that kill those who run them, also where there are no faults."""
