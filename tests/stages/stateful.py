"""Stages that keep a job's state in each of the ways there are; each output tells what its state has seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from zturbo import BatchStage, ReorderStage, Stage, Task

__all__ = ["Tracker"]


class Tracker:
    """What was seen since it was cleared."""

    made = 0
    """In this process."""

    def __init__(self) -> None:
        type(self).made += 1
        self.clear()

    def clear(self) -> None:
        self.jobs: list[int] = []
        self.count = 0

    def see(self, content: list[Any]) -> Task:
        """[job, place, ...] gives [job, place, jobs seen, tasks seen, process, trackers made in it]."""
        job, place, *_ = content
        if job not in self.jobs:
            self.jobs.append(job)
        self.count += 1
        return Task([job, place, self.jobs, self.count, os.getpid(), Tracker.made])


class Spread(Stage):
    """[job, n] gives [job, 0] .. [job, n - 1]."""

    def process(self, task: Task) -> Iterator[Task]:
        job, n = task.content
        for place in range(n):
            yield Task([job, place])


class Through(Stage):
    """One to one."""

    def process(self, task: Task) -> Task:
        return task


class InInit(Stage):
    """The tracker is made in ``init()`` and cleared in ``reset()``; each worker sees what it gets."""

    def init(self, worker_id: int = 0) -> None:
        super().init(worker_id)
        self.tracker = Tracker()

    def reset(self) -> None:
        self.tracker.clear()

    def process(self, task: Task) -> Task:
        return self.tracker.see(task.content)


class InReset(Stage):
    """The tracker is made in ``reset()``; a model that ``init()`` loads is shared."""

    interleave = True

    def init(self, worker_id: int = 0) -> None:
        super().init(worker_id)
        self.model = Tracker()

    def reset(self) -> None:
        made = Tracker.made
        self.tracker = Tracker()
        Tracker.made = made  # models alone are counted

    def process(self, task: Task) -> Task:
        assert self.model.count == 0
        return self.tracker.see(task.content)


class StickyInInit(InInit):
    sticky = True
    job_slots = 4


class StickyInReset(InReset):
    sticky = True


class OrderedInInit(InInit, ReorderStage):
    job_slots = 4


class OrderedInReset(InReset, ReorderStage):
    """Ordered."""


class Exclusive(InInit):
    sticky = True


class Shared(Stage):
    """Sticky without ``reset()``: one instance for all jobs, which keeps them apart by itself."""

    sticky = True

    def init(self, worker_id: int = 0) -> None:
        super().init(worker_id)
        self.trackers: dict[int, Tracker] = {}
        self.model = Tracker()

    def process(self, task: Task) -> Task:
        made = Tracker.made
        tracker = self.trackers.setdefault(task.content[0], Tracker())
        Tracker.made = made
        return tracker.see(task.content)


class StickyBatch(BatchStage):
    sticky = True

    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return tasks
