"""Time in which a loop neither worked nor slept: its process stood still, or it waited for a disk."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["LEAST", "StandStill"]

LEAST = 0.5
"""Seconds of a round that count as standing still, at least."""


class StandStill:
    """Watches the rounds of a loop: wherever in a round it stood still, it is found out before the next look
    at what is overdue.

    Time in which the loop worked does not count, however long: what has come meanwhile is read next.

    Args:
        told: called with the seconds.
        clock: gives the time.
        cpu: gives the seconds of CPU that the loop's thread has used.
    """

    def __init__(
        self,
        told: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._told = told
        self._clock = clock
        self._cpu = cpu
        self._since = clock()
        self._used = cpu()

    def slept(self, seconds: float) -> None:
        """The loop has waited for messages, for so long at most."""
        self.look(seconds)
        self._since, self._used = self._clock(), self._cpu()

    def look(self, seconds: float = 0.0) -> float:
        """Find out whether the loop stood still since its last sleep. Returns the time.

        Args:
            seconds: that it was to sleep meanwhile.
        """
        now = self._clock()
        if now - self._since - seconds > LEAST:
            used = self._cpu()
            if (late := now - self._since - seconds - (used - self._used)) > LEAST:
                self._since, self._used = now, used
                self._told(late)
        return now
