"""Jobs that end because of time: those that take too long, and those whose feeding client has gone silent.

No event of one job looks at the others: there may be a million of them.
"""

from __future__ import annotations

import heapq

__all__ = ["Deadlines", "Feeds"]


class Deadlines:
    """The jobs that have a time-out. An event costs the logarithm of their number."""

    def __init__(self) -> None:
        self._at: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []
        """Each job with a time-out, and some that have ended, which are skipped when their time comes."""

    def set(self, job: bytes, at: float) -> None:
        """The job has to be complete by then."""
        self._at[job] = at
        heapq.heappush(self._heap, (at, job))

    def drop(self, job: bytes) -> None:
        """The job has ended."""
        if self._at.pop(job, None) is not None and len(self._heap) > 2 * len(self._at) + 100:
            self._heap = [(at, job) for job, at in self._at.items()]
            heapq.heapify(self._heap)

    def first(self) -> float | None:
        """When the next time-out is over."""
        self._skip()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[bytes]:
        """Jobs whose time is over, the earliest first. Each is returned once."""
        jobs = []
        while (at := self.first()) is not None and at <= now:
            job = heapq.heappop(self._heap)[1]
            del self._at[job]
            jobs.append(job)
        return jobs

    def _skip(self) -> None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)


class Feeds:
    """Jobs that clients feed, and when each of these clients was last heard.

    Args:
        patience: seconds that a client may be silent while it feeds a job.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._jobs: dict[bytes, dict[bytes, None]] = {}
        """Client -> its jobs whose feed is open, in the order of submitting."""
        self._heard: dict[bytes, float] = {}
        """Client -> when it was last heard; the one that has been silent for longest comes first."""

    def open(self, client: bytes, job: bytes, now: float) -> None:
        """This client begins to feed this job."""
        self._jobs.setdefault(client, {})[job] = None
        self.heard(client, now)

    def close(self, client: bytes, job: bytes) -> None:
        """All of its roots are here, or the job has ended."""
        jobs = self._jobs.get(client, {})
        jobs.pop(job, None)
        if not jobs:
            self._jobs.pop(client, None)
            self._heard.pop(client, None)

    def heard(self, client: bytes, now: float) -> None:
        """The client was heard."""
        if client in self._jobs:
            self._heard.pop(client, None)
            self._heard[client] = now

    def first(self) -> float | None:
        """When the client that has been silent for longest counts as gone."""
        return next((at + self.patience for at in self._heard.values()), None)

    def due(self, now: float) -> list[bytes]:
        """Jobs whose client counts as gone. Each is returned once."""
        jobs: list[bytes] = []
        while (at := self.first()) is not None and at <= now:
            client = next(iter(self._heard))
            del self._heard[client]
            jobs += self._jobs.pop(client)
        return jobs
