"""Words on many jobs for one member: they gather for a moment, and go in one message.

So a member is told which jobs it is to forget, and a sink that ends are in the ledger. Neither is urgent: a
member frees memory then, and sends its last counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from zturbo.core.effects import Control
from zturbo.wire.control import from_broker

__all__ = ["JobLists"]

SAY_AFTER = 0.1
"""Seconds in which jobs gather for one message."""

AT_ONCE = 10_000
"""Most jobs in one message."""


class JobLists:
    """Jobs of which members have not been told yet.

    Args:
        kind: the message that tells them.
    """

    def __init__(self, kind: type[from_broker.Forget] | type[from_broker.Confirmed]) -> None:
        self._kind = kind
        self._jobs: dict[bytes, list[bytes]] = {}
        """Member -> jobs."""
        self._told: set[bytes] = set()
        """The jobs among these."""
        self.due: float | None = None
        """When the next messages are due; None if there are none."""

    def __contains__(self, job: bytes) -> bool:
        return job in self._told

    def add(self, members: Iterable[bytes], job: bytes, now: float) -> None:
        """Tell these members of a job soon."""
        self._told.add(job)
        for member in members:
            self._jobs.setdefault(member, []).append(job)
        if self.due is None and self._jobs:
            self.due = now + SAY_AFTER

    def say(self, now: float) -> list[Control]:
        """The messages that are due."""
        return self.say_now() if self.due is not None and now >= self.due else []

    def say_now(self) -> list[Control]:
        """All messages, due or not."""
        jobs, self._jobs = self._jobs, {}
        self.due = None
        self._told.clear()
        return [
            Control(self._kind(jobs=tuple(part[at : at + AT_ONCE])), member)
            for member, part in jobs.items()
            for at in range(0, len(part), AT_ONCE)
        ]
