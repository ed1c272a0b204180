"""Dispatch order: the highest priority first; within it round robin between clients, then jobs.

So a job of a million tasks starves no other job: at each turn one slice of one job's roots is sent. No step
costs more where more jobs wait.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["FairQueue"]

Ring = OrderedDict[bytes, None]


class FairQueue:
    """Jobs of one pipeline that have roots to send."""

    def __init__(self) -> None:
        self._levels: dict[int, OrderedDict[bytes, Ring]] = {}
        """Priority -> ring of clients -> ring of each one's jobs."""
        self._where: dict[bytes, tuple[int, bytes]] = {}

    def __contains__(self, job: bytes) -> bool:
        return job in self._where

    def __len__(self) -> int:
        return len(self._where)

    def add(self, job: bytes, client: bytes, priority: int) -> None:
        """The job has something to send. Adding it again changes nothing."""
        if job not in self._where:
            self._where[job] = priority, client
            clients = self._levels.setdefault(priority, OrderedDict())
            clients.setdefault(client, OrderedDict())[job] = None

    def remove(self, job: bytes) -> None:
        """The job has nothing to send (for now)."""
        if job not in self._where:
            return
        priority, client = self._where.pop(job)
        clients = self._levels[priority]
        del clients[client][job]
        if not clients[client]:
            del clients[client]
        if not clients:
            del self._levels[priority]

    def first(self) -> bytes | None:
        """The job whose turn it is."""
        if not self._levels:
            return None
        clients = self._levels[max(self._levels)]
        return next(iter(next(iter(clients.values()))))

    def turn(self) -> None:
        """Pass the turn on: to the next client, and among this client's jobs to the next one."""
        if self._levels:
            clients = self._levels[max(self._levels)]
            client, jobs = next(iter(clients.items()))
            jobs.move_to_end(next(iter(jobs)))
            clients.move_to_end(client)

    def back(self, job: bytes) -> None:
        """Give the job back the turn that it had, and could not use."""
        priority, client = self._where[job]
        clients = self._levels[priority]
        clients[client].move_to_end(job, last=False)
        clients.move_to_end(client, last=False)
