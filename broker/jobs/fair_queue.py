"""Dispatch order: the highest priority first; within it round robin between clients, then jobs.

So a million-task job starves nobody: each turn gives one slice of one job's roots.
"""

from __future__ import annotations

from collections import deque

__all__ = ["FairQueue"]


class FairQueue:
    """Jobs of one pipeline that have roots to send."""

    def __init__(self) -> None:
        self._levels: dict[int, deque[bytes]] = {}
        """Priority -> ring of clients."""
        self._jobs: dict[tuple[int, bytes], deque[bytes]] = {}
        """(priority, client) -> ring of jobs."""
        self._where: dict[bytes, tuple[int, bytes]] = {}

    def __contains__(self, job: bytes) -> bool:
        return job in self._where

    def __len__(self) -> int:
        return len(self._where)

    def add(self, job: bytes, client: bytes, priority: int) -> None:
        """The job has something to send. Adding it again changes nothing."""
        if job in self._where:
            return
        key = (priority, client)
        self._where[job] = key
        ring = self._jobs.get(key)
        if ring is None:
            self._jobs[key] = deque([job])
            self._levels.setdefault(priority, deque()).append(client)
        else:
            ring.append(job)

    def remove(self, job: bytes) -> None:
        """The job has nothing to send (for now)."""
        key = self._where.pop(job, None)
        if key is None:
            return
        ring = self._jobs[key]
        ring.remove(job)
        if not ring:
            del self._jobs[key]
            priority, client = key
            self._levels[priority].remove(client)
            if not self._levels[priority]:
                del self._levels[priority]

    def next(self) -> bytes | None:
        """Whose turn it is; the turn passes on."""
        if not self._levels:
            return None
        priority = max(self._levels)
        clients = self._levels[priority]
        client = clients[0]
        clients.rotate(-1)
        ring = self._jobs[(priority, client)]
        job = ring[0]
        ring.rotate(-1)
        return job
