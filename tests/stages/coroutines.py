"""Stages that are ``async def``, for tests with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from zturbo import ReorderStage, Stage, Task


class Together(Stage):
    """Waits until ``size`` tasks run at a time in one worker; gives each with the most that did."""

    max_concurrency = 50

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        self.size = size

    async def init(self, worker_id: int = 0) -> None:
        self.full = asyncio.Event()
        self.inside = self.most = 0

    async def process(self, task: Task) -> Task:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside == self.size:
            self.full.set()
        await self.full.wait()
        await asyncio.sleep(task.content % 7 / 1000)
        self.inside -= 1
        return Task([task.content, self.most])


class AsyncGate(Stage):
    """All at once: contents below a number pass, the others wait until a file is there."""

    max_concurrency = 100

    def __init__(self, path: str, below: int) -> None:
        super().__init__()
        self.path = Path(path)
        self.below = below

    async def process(self, task: Task) -> Task:
        while task.content >= self.below and not self.path.exists():
            await asyncio.sleep(0.01)
        return task


class Waits(Stage):
    """Waits a little, and then does what the content says; notes each task that gets a CancelledError."""

    max_concurrency = 20

    def __init__(self, path: str = "", once: str = "") -> None:
        super().__init__()
        self.path = Path(path)
        self.once = Path(once)

    async def process(self, task: Task) -> Any:
        content = task.content
        if content == "forever":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.path.touch()
                raise
        if content == "block":
            time.sleep(1000)
        if isinstance(content, str):
            return content if content == "string" else None
        await asyncio.sleep(content * 7 % 11 / 500)
        if content % 10 == 3:
            raise ValueError(content)
        if content % 10 == 4:
            return None
        if content % 10 == 5:
            return [Task(content), Task(content + 0.5)]
        if self.once.name and content == 42 and not self.once.exists():
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if content == -2:
            os._exit(3)
        return task


class Streams(Stage):
    """An asynchronous generator; one content fails half way."""

    async def process(self, task: Task) -> AsyncIterator[Task]:
        for i in range(task.content % 5):
            await asyncio.sleep(i / 1000)
            if task.content % 9 == 8 and i == 2:
                raise ValueError(task.content)
            yield Task([task.content, i])


class Steps(ReorderStage):
    """Ordered and ``async def``: a running sum, with an ``await`` at which another could come between."""

    interleave = True

    async def reset(self) -> None:
        self.total = 0

    async def process(self, task: Task) -> Task:
        total = self.total
        await asyncio.sleep(0)
        self.total = (total * 31 + task.content) % 1_000_003
        return Task(self.total)


class OwnState(Stage):
    """State of each job: gives what came first of its job, and how often it was reset."""

    async def init(self, worker_id: int = 0) -> None:
        await asyncio.sleep(0.01)
        self.resets = 0

    async def reset(self) -> None:
        self.first: Any = None
        self.resets += 1
        await asyncio.sleep(0.01)

    async def process(self, task: Task) -> Task:
        if self.first is None:
            self.first = task.content // 1000
        await asyncio.sleep(0.002)
        return Task(self.first)


async def wait_half(content: int) -> int | None:
    """An ``async def`` function as a stage: odd contents are dropped."""
    await asyncio.sleep(0.001)
    return None if content % 2 else content // 2


async def wait_twice(content: int, times: int = 2) -> AsyncIterator[int]:
    """An asynchronous generator function as a stage."""
    for i in range(times):
        await asyncio.sleep(0.001)
        yield content * times + i


class Sleepy(Stage):
    """The sum of the content's numbers, after a while; those of some fail."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def process(self, task: Task) -> Task:
        value, i = task.content
        await asyncio.sleep(self.seconds * (value * 7 % 5) / 2)
        if value % 7 == 6:
            raise ValueError(value)
        return Task(value + i)
