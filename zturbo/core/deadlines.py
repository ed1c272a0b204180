"""When something is due for jobs, such as a time-out or a report.

No event of one job looks at the others: there may be a million of them.
"""

from __future__ import annotations

import heapq

__all__ = ["Deadlines"]


class Deadlines:
    """Jobs for which something is due. An event costs the logarithm of their number."""

    def __init__(self) -> None:
        self._at: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []
        """Each job with its time, and times that hold no longer, which are skipped when they come."""

    def set(self, job: bytes, at: float) -> None:
        """Something is due then for this job, in place of what was due before."""
        if self._at.get(job) == at:
            return
        self._at[job] = at
        heapq.heappush(self._heap, (at, job))
        self._tidy()

    def drop(self, job: bytes) -> None:
        """Nothing is due for this job."""
        if self._at.pop(job, None) is not None:
            self._tidy()

    def _tidy(self) -> None:
        """Most times on the heap may hold no longer: then keep only the others."""
        if len(self._heap) > 2 * len(self._at) + 100:
            self._heap = [(at, job) for job, at in self._at.items()]
            heapq.heapify(self._heap)

    def first(self) -> float | None:
        """When something is due next."""
        self._skip()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[bytes]:
        """Jobs whose time has come, the earliest first. Each is returned once."""
        jobs = []
        while (at := self.first()) is not None and at <= now:
            job = heapq.heappop(self._heap)[1]
            del self._at[job]
            jobs.append(job)
        return jobs

    def _skip(self) -> None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
