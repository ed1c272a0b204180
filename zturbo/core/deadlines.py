"""When something is due: next of all, or for each of many jobs, such as a time-out or a report.

There may be a million jobs, so an event of one job looks at no other.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

__all__ = ["Deadlines", "earliest"]


def earliest(times: Iterable[float | None]) -> float | None:
    """The earliest of these times; None if there is none."""
    first: float | None = None
    for at in times:
        if at is not None and (first is None or at < first):
            first = at
    return first


class Deadlines:
    """A time for each job for which something is due. To set one costs the logarithm of their number."""

    def __init__(self) -> None:
        self._at: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []
        """Each job with its time. A time that was changed or dropped stays, and is skipped when it comes."""

    def set(self, job: bytes, at: float) -> None:
        """Set a job's time, in place of the one that it had."""
        if self._at.get(job) == at:
            return
        self._at[job] = at
        heapq.heappush(self._heap, (at, job))
        self._tidy()

    def drop(self, job: bytes) -> None:
        """Remove a job's time, if it has one."""
        if self._at.pop(job, None) is not None:
            self._tidy()

    def _tidy(self) -> None:
        """Make the heap anew if most of its times were changed or dropped."""
        if len(self._heap) > 2 * len(self._at) + 100:
            self._heap = [(at, job) for job, at in self._at.items()]
            heapq.heapify(self._heap)

    def first(self) -> float | None:
        """The earliest time; None if no job has one."""
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:  # it was changed or dropped
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> list[bytes]:
        """Jobs whose time has come, the earliest first. They have no time any more."""
        jobs = []
        while (at := self.first()) is not None and at <= now:
            job = heapq.heappop(self._heap)[1]
            del self._at[job]
            jobs.append(job)
        return jobs
