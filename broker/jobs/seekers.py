"""Clients that have asked where a job's results are, and are told when that may have changed.

What they are told is a hint, which may get lost: they ask again by themselves now and then.
"""

from __future__ import annotations

from zturbo.core.effects import Control, Effect
from zturbo.wire.control import from_broker

__all__ = ["Seekers"]

MOST = 100_000
"""Questions that are remembered at most."""


class Seekers:
    """Who has asked of which jobs lately.

    Args:
        patience: seconds after which a question is forgotten. Clients ask more often than that.
        effects: to which the messages are appended.
    """

    def __init__(self, patience: float, effects: list[Effect]) -> None:
        self._effects = effects
        self.patience = patience
        self._asked: dict[tuple[bytes, bytes], float] = {}
        """(client, job) -> when it asked; the oldest question comes first."""
        self._clients: dict[bytes, set[bytes]] = {}
        """Job -> its clients."""

    def __len__(self) -> int:
        return len(self._asked)

    def asks(self, client: bytes, job: bytes, now: float) -> None:
        """A client asks where a job's results are."""
        self._asked.pop((client, job), None)
        self._asked[client, job] = now
        self._clients.setdefault(job, set()).add(client)
        while (oldest := next(iter(self._asked))) != (client, job) and (
            len(self._asked) > MOST or now - self._asked[oldest] > self.patience
        ):
            self._drop(*oldest)

    def moved(self, job: bytes) -> None:
        """A job has a sink, or has ended: tell its clients. Each is told once for a question."""
        for client in sorted(self._clients.get(job, ())):
            self._drop(client, job)
            self._effects.append(Control(from_broker.Moved(jobs=(job,)), client))

    def sink_came(self) -> None:
        """A sink has joined, which may have the results of any job: tell all clients."""
        jobs: dict[bytes, list[bytes]] = {}
        for client, job in self._asked:
            jobs.setdefault(client, []).append(job)
        for client, asked in jobs.items():
            self._effects.append(Control(from_broker.Moved(jobs=tuple(asked)), client))
        self._asked.clear()
        self._clients.clear()

    def _drop(self, client: bytes, job: bytes) -> None:
        del self._asked[client, job]
        clients = self._clients[job]
        clients.discard(client)
        if not clients:
            del self._clients[job]
