"""The runner of a batch stage: tasks of several pieces of work wait for each other until a batch is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

from zturbo.core.effects import Work
from zturbo.core.links.outbatch import paths
from zturbo.core.worker.produced import Produced
from zturbo.errors import DecodeError
from zturbo.runtime.code.cutting import start_next
from zturbo.runtime.code.runner import Runner, open_piece
from zturbo.runtime.code.stagehost import StageHost, Stale
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


class BatchRunner(Runner):
    """Runs a batch stage's code, see :class:`zturbo.BatchStage`. Work is finished in the order of coming."""

    def __init__(
        self,
        host: StageHost,
        give: Callable[[Produced], None],
        current: Callable[[bytes], int | None],
        max_bytes: int,
    ) -> None:
        super().__init__(host, give, current, max_bytes)
        self._waiting: deque[_Item] = deque()
        self._due = 0.0
        """When what waits is run in any case."""

    def run(self, work: Work) -> None:
        """Take its tasks; batches that are full run now."""
        if self._waiting and (work.job, work.epoch) != (self._job, self._epoch):
            self._run_waiting()
        self._begin(work)
        try:
            items = list(_items(work)) if self._current(work.job) == work.epoch else []
        except DecodeError as error:
            self._run_waiting()
            self._turn_to(work)
            self._fail_work(work, error)
            items = []
        if not items:
            self._run_waiting()
            self._works.append(work)
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
        waiting = self._waiting
        items = [waiting.popleft() for _ in range(min(len(waiting), self.host.batch))]
        ready: list[_Item] = []
        if self._current(self._job) == self._epoch:
            ready = [item for item in items if start_next(item.work.unstarted)]
        if ready:
            newest = ready[-1].work
            works = {id(item.work): item.work for item in ready}.values()
            self.host.inputs.begin([piece for work in works for piece in work.pieces])
            try:
                self.host.run_batch(
                    self._job,
                    [(item.path, item.content, item.meta) for item in ready],
                    self._out,
                    begin=lambda i: self._turn_to(ready[i].work),
                    epoch=self._epoch,
                    marks=newest.marks,
                    logs=newest.logs,
                )
            except Stale:
                self._out.clear()
            self._look_after(self._job, self._epoch, lambda: [item.path for item in ready])
        for item in items:
            if item.last:
                self._turn_to(item.work)
                self._works.append(item.work)
        self._count()

    def job_ended(self, job: bytes) -> None:
        """The job is over here, or starts over: what waits of it is dropped."""
        self._run_waiting()
        super().job_ended(job)

    def wait(self) -> float | None:
        """Seconds until what waits is run, full or not."""
        return max(0.0, self._due - perf_counter()) if self._waiting else None

    def idle(self) -> None:
        """No work came meanwhile."""
        self._run_waiting()
        super().idle()


def _items(work: Work) -> Iterator[_Item]:
    index = 0
    total = sum(stop - start for _, start, stop in work.pieces)
    for piece in work.pieces:
        runs, contents, metas = open_piece(piece)
        for at, path in enumerate(paths(runs)):
            meta = None if metas is None else metas[at]
            yield _Item(work, index, index + 1 == total, path, contents[at], meta)
            index += 1
