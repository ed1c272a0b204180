"""The queue before the code of a plain stage, and the tasks that are set aside to run alone.

A task that ran when two workers died may have killed them: the broker marks it as a suspect in the job's
stamp. A suspect is set aside, and runs when nothing else is queued. So no other task runs beside it, and none
is blamed with it if the worker dies again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Set
from typing import NamedTuple

from zturbo.core.links.outbatch import cut_runs
from zturbo.core.links.round_robin import RoundRobin
from zturbo.wire.messages import Batch, Path

__all__ = ["InputQueue", "Slice", "find"]


class Slice(NamedTuple):
    """Tasks ``start .. stop`` of a batch, none of which is started."""

    batch: Batch
    start: int
    stop: int
    since: float = 0.0
    """When it came."""

    @property
    def key(self) -> tuple[bytes, int, int]:
        """The input that these tasks are of."""
        return self.batch.key

    @property
    def n(self) -> int:
        """Tasks."""
        return self.stop - self.start

    @property
    def nbytes(self) -> int:
        """Bytes that leave the queue with it: all of the batch's with its last task, else none."""
        return self.batch.nbytes if self.stop == self.batch.n else 0


def find(part: Slice, paths: Set[Path]) -> int | None:
    """Index in the batch of the first task in a slice that has one of these paths; None if none has."""
    at = part.start
    for first, n in cut_runs(part.batch.runs, part.start, part.stop):
        hits = [
            path[-1] - first[-1] if first else 0
            for path in paths
            if path[:-1] == first[:-1]
            and len(path) == len(first)
            and (not first or first[-1] <= path[-1] < first[-1] + n)
        ]
        if hits:
            return at + min(hits)
        at += n
    return None


class InputQueue:
    """Slices. Jobs take turns; those of a job are in the order in which they came.

    A batch has at most one slice here, which goes up to its end.
    """

    def __init__(self) -> None:
        self._items: RoundRobin[Slice] = RoundRobin()
        self.aside: deque[Slice] = deque()
        """Suspects, one task each."""
        self.tasks = 0
        """Tasks queued or set aside."""

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return bool(self._items or self.aside)

    def add(self, batch: Batch, now: float = 0.0) -> None:
        """Queue a batch."""
        self._items.append(batch.job, Slice(batch, 0, batch.n, now))
        self.tasks += batch.n

    def next(self, suspects: Callable[[bytes], Set[Path]]) -> Slice | None:
        """Take the next slice to run. Suspects before it are set aside; ``suspects`` gives those of a job."""
        while self._items:
            part = self._items.popleft()
            paths = suspects(part.batch.job)
            at = find(part, paths) if paths else None
            if at is None:
                self.tasks -= part.n
                return part
            if at + 1 < part.stop:
                self._items.appendleft(part.batch.job, part._replace(start=at + 1))
            self.aside.append(part._replace(start=at, stop=at + 1))
            if at > part.start:
                self.tasks -= at - part.start
                return part._replace(stop=at)
        return None

    def next_alone(self) -> Slice | None:
        """Take a suspect, once nothing else is queued."""
        if self._items or not self.aside:
            return None
        self.tasks -= 1
        return self.aside.popleft()

    def drop_job(self, job: bytes) -> list[Slice]:
        """Take out the slices of a job."""
        out = [*self._items.take(job), *(part for part in self.aside if part.batch.job == job)]
        self.aside = deque(part for part in self.aside if part.batch.job != job)
        self.tasks -= sum(part.n for part in out)
        return out

    def drop_senders(self, gone: Set[bytes]) -> None:
        """Drop the slices of batches that these sent."""
        parts, aside = list(self._items), self.aside
        self._items.clear()
        for part in parts:
            if part.batch.source not in gone:
                self._items.append(part.batch.job, part)
        self.aside = deque(part for part in aside if part.batch.source not in gone)
        self.tasks = sum(part.n for part in self.parts())

    def give_back(self) -> list[Slice]:
        """Take out everything but suspects, so that other workers run it."""
        out = list(self._items)
        self._items.clear()
        self.tasks -= sum(part.n for part in out)
        return out

    def queued(self) -> list[Slice]:
        """All slices that are queued, and not set aside."""
        return list(self._items)

    def parts(self) -> list[Slice]:
        """All slices, queued or set aside."""
        return [*self._items, *self.aside]

    def check(self) -> None:
        """Assert every invariant."""
        assert self.tasks == sum([part.n for part in self._items]) + sum([part.n for part in self.aside])
        assert len({part.key for part in self._items}) == len(self._items)
        assert all(part.stop == part.batch.n for part in self._items)
