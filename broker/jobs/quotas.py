"""How many jobs clients may have at the broker, and how many bytes of them.

A submit beyond a limit is refused, with the time after which to come back. So nothing is lost: the client
keeps the job, and submits it again. A client that has no unfinished job here is never refused for its own
limits, and an empty broker refuses nobody. So a job of any size can go at some time.
"""

from __future__ import annotations

from typing import NamedTuple

from zturbo.slotted import slotted
from zturbo.wire.control.answers import Queued
from zturbo_broker.jobs.job import Job

__all__ = ["JOB_MEMORY", "Limits", "Quotas", "Refusal"]

JOB_MEMORY = 6144
"""About how many bytes of the broker's memory an unfinished job takes, beside its name. Jobs that travel
together take as much as one."""

UNLIMITED = 1 << 62
"""More than there can be."""

SOON, LATER = 0.25, 1.0
"""Seconds after which a client comes back that has used up its own share; that finds no room for anybody."""

SHOWN = 20
"""Clients that are shown at most: those with the most jobs."""

MOST_REFUSED = 1000
"""Clients without jobs whose refusals are remembered at most."""


@slotted
class Limits:
    """What unfinished jobs may take; without a number, as much as they like."""

    client_jobs: int = UNLIMITED
    """Jobs of one client."""
    client_bytes: int = UNLIMITED
    """Bytes of roots of one client's jobs."""
    memory: int = UNLIMITED
    """About how many bytes of the broker's memory the jobs of all clients may take."""


class Refusal(NamedTuple):
    """A job is not taken now."""

    why: str
    """What the client has to wait for, as a sentence."""
    after: float
    """Seconds after which it is to come back."""


@slotted
class _Used:
    """What one client uses."""

    jobs: int = 0
    nbytes: int = 0
    refused: int = 0
    """Jobs that were refused, each time that they came."""


_NOTHING = _Used()


class Quotas:
    """What the unfinished jobs of all clients use.

    With keys a client is the name of a key, however many connections it has; without keys it is a connection.

    Args:
        limits: what they may use.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.memory = 0
        """About how many bytes of memory all of them take."""
        self.refused = 0
        """Jobs that were refused so far, each time that they came."""
        self._clients: dict[bytes | str, _Used] = {}

    def add(self, job: Job) -> None:
        """A job is unfinished from now on."""
        used = self._used(job.owner or job.client)
        used.jobs += job.weight
        used.nbytes += job.chunks.nbytes
        self.memory += _memory(job.name)

    def grew(self, job: Job, nbytes: int) -> None:
        """Roots of an unfinished job have come."""
        self._used(job.owner or job.client).nbytes += nbytes

    def shrank(self, job: Job, nbytes: int) -> None:
        """Roots of an unfinished job are here no more."""
        self._used(job.owner or job.client).nbytes -= nbytes

    def remove(self, job: Job) -> None:
        """A job has ended."""
        client = job.owner or job.client
        used = self._used(client)
        used.jobs -= job.weight
        used.nbytes -= job.chunks.nbytes
        self.memory -= _memory(job.name)
        if not used.jobs and not used.refused:
            del self._clients[client]

    def full(self, client: bytes | str, name: str, jobs: int, nbytes: int) -> Refusal | None:
        """Whether there is no room for a job that is submitted now.

        Args:
            client: name of its key; without keys, its identity.
            name: the job's.
            jobs: how many jobs it is: more than one if they travel together.
            nbytes: of their roots.

        Returns:
            What the client has to wait for, and when it is to come back; None if there is room.
        """
        limits, used = self.limits, self._clients.get(client, _NOTHING)
        if used.jobs and used.jobs + jobs > limits.client_jobs:
            text = f"{_jobs(used.jobs)} of this client are not finished; client_jobs of [broker] allows"
            return Refusal(f"{text} {limits.client_jobs}", SOON)
        if used.jobs and used.nbytes + nbytes > limits.client_bytes:
            text = (
                f"{_jobs(used.jobs)} of this client with {used.nbytes} bytes are not finished; client_bytes"
            )
            return Refusal(f"{text} of [broker] allows {limits.client_bytes}", SOON)
        if self.memory and self.memory + _memory(name) > limits.memory:
            text = (
                f"the unfinished jobs of all clients take {self.memory} bytes of the broker's memory; memory"
            )
            return Refusal(f"{text} of [broker] allows {limits.memory}", LATER)
        return None

    def refuse(self, client: bytes | str, jobs: int) -> None:
        """So many jobs of a client are refused."""
        self.refused += jobs
        self._used(client).refused += jobs
        if len(self._clients) > MOST_REFUSED:
            self._forget_idle()

    def _forget_idle(self) -> None:
        """Forget clients that have no jobs: they were refused, and have not come back or need no more."""
        for client in [client for client, used in self._clients.items() if not used.jobs]:
            del self._clients[client]

    def _used(self, client: bytes | str) -> _Used:
        used = self._clients.get(client)
        if used is None:
            used = self._clients[client] = _Used()
        return used

    def told(self, client: str | None = None) -> tuple[Queued, ...]:
        """What clients use, those with the most jobs first; with ``client``, that one alone."""
        clients = [
            Queued(
                client=name if isinstance(name, str) else name.hex(),
                jobs=used.jobs,
                nbytes=used.nbytes,
                refused=used.refused,
            )
            for name, used in self._clients.items()
            if client is None or name == client
        ]
        return tuple(sorted(clients, key=lambda one: (-one.jobs, one.client))[:SHOWN])

    def check(self, jobs: list[Job]) -> None:
        """Assert that these unfinished jobs are what is counted."""
        assert self.memory == sum(_memory(job.name) for job in jobs)
        assert sum(used.jobs for used in self._clients.values()) == sum(job.weight for job in jobs)
        assert sum(used.nbytes for used in self._clients.values()) == sum(job.chunks.nbytes for job in jobs)


def _memory(name: str) -> int:
    return JOB_MEMORY + len(name)


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
