"""The runner of a batch stage: tasks wait, over several pieces of work, until a batch is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import perf_counter
from typing import Any, NamedTuple

from zturbo.core.effects import Work
from zturbo.core.links.outbatch import paths
from zturbo.errors import DecodeError
from zturbo.runtime.code.call import Call
from zturbo.runtime.code.context import Stale
from zturbo.runtime.code.cutting import start_next
from zturbo.runtime.code.laps import CODE, OWN
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.runner import open_piece
from zturbo.wire.messages import Path

__all__ = ["BatchRunner"]


class _Item(NamedTuple):
    work: Work
    nth: int
    """Among the work's tasks."""
    last: bool
    """Whether it is the last of them."""
    path: Path
    content: Any
    meta: Any


class BatchRunner:
    """Runs a batch stage's code, see :class:`zturbo.BatchStage`. Work is finished in the order of coming.

    Args:
        production: takes what the stage's code makes, and knows the stage.
    """

    def __init__(self, production: Production) -> None:
        self.host = production.host
        self.production = production
        self.steal = production.steal
        self.flush = production.flush
        self._waiting: deque[_Item] = deque()
        self._due = 0.0
        """When the tasks that wait are run in any case."""

    def run(self, work: Work) -> None:
        """Take its tasks; batches that are full run now."""
        production = self.production
        if self._waiting and (work.job, work.epoch) != (production.job, production.epoch):
            self._run_waiting()
        production.begin(work)
        try:
            items = list(_items(work)) if production.is_current(work) else []
        except DecodeError as error:
            self._run_waiting()
            production.turn_to(work)
            production.fail_work(work, error)
            items = []
        if not items:
            self._run_waiting()
            production.finish(work)
            return
        if not self._waiting:
            self._due = perf_counter() + self.host.batch_wait
        self._waiting.extend(items)
        while len(self._waiting) >= self.host.batch:
            self._run_batch()
            self._due = perf_counter() + self.host.batch_wait

    def _run_waiting(self) -> None:
        while self._waiting:
            self._run_batch()

    def _run_batch(self) -> None:
        waiting, production = self._waiting, self.production
        items = [waiting.popleft() for _ in range(min(len(waiting), self.host.batch))]
        ready: list[_Item] = []
        if production.is_current(items[0].work):
            ready = [item for item in items if start_next(item.work.unstarted)]
        if ready:
            self._call(ready)
        for item in items:
            if item.last:
                production.turn_to(item.work)
                production.finish(item.work)
        production.count()

    def _call(self, ready: list[_Item]) -> None:
        production, newest = self.production, ready[-1].work
        works = {id(item.work): item.work for item in ready}.values()
        self.host.inputs.begin([piece for work in works for piece in work.pieces])
        production.laps.turn(CODE)
        try:
            self.host.batches.run(
                Call.of(newest, production.out),
                [(item.path, item.content, item.meta) for item in ready],
                begin=lambda i: production.turn_to(ready[i].work),
            )
        except Stale:
            production.out.clear()
        production.laps.turn(OWN)
        self.host.context.look_after(newest.job, newest.epoch, lambda: [item.path for item in ready])

    def job_ended(self, job: bytes) -> None:
        """The job has ended here, or starts over: tasks that wait are dropped where they are of it."""
        self._run_waiting()
        self.flush()
        self.host.instances.job_ended(job)

    def wait(self) -> float | None:
        """Seconds until the tasks that wait are run, whether they fill a batch or not."""
        return max(0.0, self._due - perf_counter()) if self._waiting else None

    def idle(self) -> None:
        """No work came meanwhile."""
        self._run_waiting()
        self.production.idle()


def _items(work: Work) -> Iterator[_Item]:
    index = 0
    total = sum(stop - start for _, start, stop in work.pieces)
    for piece in work.pieces:
        runs, contents, metas = open_piece(piece)
        for at, path in enumerate(paths(runs)):
            meta = None if metas is None else metas[at]
            yield _Item(work, index, index + 1 == total, path, contents[at], meta)
            index += 1
