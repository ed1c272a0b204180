"""Last counts: what a worker or a sink tells the broker of each job that has ended."""

from __future__ import annotations

from collections import OrderedDict

from zturbo.core.effects import Control
from zturbo.wire.control import to_broker

__all__ = ["EndedJobs"]

REMEMBERED = 100_000
"""Ended jobs that are remembered: a member drops late copies of their tasks."""

SAY_AFTER = 0.02
"""Seconds that last counts wait, so that those of several jobs share one message."""

AT_ONCE = 10_000
"""Jobs in one such message."""

Last = tuple[int, int, int]
"""(epoch, given, failed)."""

NOTHING: Last = (0, 0, 0)


class EndedJobs:
    """The jobs that have ended, with their last counts. The broker is told them as often as it asks.

    Args:
        me: incarnation of the member.
    """

    def __init__(self, me: bytes) -> None:
        self._me = me
        self._counts: OrderedDict[bytes, Last] = OrderedDict()
        self._unsaid: dict[bytes, None] = {}
        self._say_at = 0.0

    def __contains__(self, job: bytes) -> bool:
        return job in self._counts

    def add(self, job: bytes, counts: Last | None, now: float) -> None:
        """Take the broker's word that a job has ended; it is repeated until the counts have arrived.

        Args:
            job: its id.
            counts: its last counts; None if the job is not here (any more).
            now: monotonic seconds.
        """
        known = self._counts.pop(job, NOTHING)
        self._counts[job] = known if counts is None else counts
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        if not self._unsaid:
            self._say_at = now + SAY_AFTER
        self._unsaid[job] = None

    def deadline(self) -> float | None:
        """When :meth:`say` is due."""
        return self._say_at if self._unsaid else None

    def say(self, now: float) -> list[Control]:
        """The messages that are due."""
        if not self._unsaid or now < self._say_at:
            return []
        unsaid, self._unsaid = list(self._unsaid), {}
        parts = [unsaid[at : at + AT_ONCE] for at in range(0, len(unsaid), AT_ONCE)]
        counts = [{job: self._counts.get(job, NOTHING) for job in part} for part in parts]
        return [Control(to_broker.LastCounts(incarnation=self._me, counts=part)) for part in counts]
