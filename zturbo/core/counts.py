"""The last word of a worker or a sink on how many tasks of each job it counted."""

from __future__ import annotations

from collections import OrderedDict

from zturbo.core.effects import Control
from zturbo.wire.control import to_broker

__all__ = ["EndedJobs"]

REMEMBERED = 100_000
"""Ended jobs that are remembered, so that a late copy of their tasks is known as such."""

SAY_AFTER = 0.02
"""Seconds in which last counts of several jobs come together into one message."""

AT_ONCE = 10_000
"""Jobs in one such message."""

Last = tuple[int, int, int]
"""(epoch, given, failed)."""

NOTHING: Last = (0, 0, 0)


class EndedJobs:
    """Jobs that have ended, with what was counted of each: the broker hears that, as often as it asks.

    Args:
        me: incarnation of the member that counts.
    """

    def __init__(self, me: bytes) -> None:
        self._me = me
        self._counts: OrderedDict[bytes, Last] = OrderedDict()
        self._unsaid: dict[bytes, None] = {}
        self._say_at = 0.0

    def __contains__(self, job: bytes) -> bool:
        return job in self._counts

    def add(self, job: bytes, counts: Last | None, now: float) -> None:
        """A job has ended.

        Args:
            job: its id.
            counts: of it; None if it is not here (any more).
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
        """When there is something to say."""
        return self._say_at if self._unsaid else None

    def say(self, now: float) -> list[Control]:
        """What is to be told by now."""
        if not self._unsaid or now < self._say_at:
            return []
        unsaid, self._unsaid = list(self._unsaid), {}
        parts = [unsaid[at : at + AT_ONCE] for at in range(0, len(unsaid), AT_ONCE)]
        counts = [{job: self._counts.get(job, NOTHING) for job in part} for part in parts]
        return [Control(to_broker.LastCounts(incarnation=self._me, counts=part)) for part in counts]
