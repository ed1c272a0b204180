"""When to start a child again: at once, then later and later.

A child that ran for a while is started again at once. One that dies again and again waits 0.1 s, doubling
up to 10 s; one that could not even start (its import or ``init()`` raised) three times in a row is
*broken*: it is tried every 30 s, so that mending the code is enough. So is one that starts, and five times
in a row dies soon, without a task: no task is to blame, and what it dies of is at work in each life.
"""

from __future__ import annotations

__all__ = ["STABLE", "Restarts"]

FIRST, LONGEST = 0.1, 10.0
"""Seconds of waiting: after the second death, and at most."""

STABLE = 3.0
"""Seconds of life after which earlier deaths are forgotten."""

BROKEN_AFTER = 3
"""Failed starts in a row that make a child broken."""

USELESS_AFTER = 5
"""Short lives in a row without a task that make a child broken."""

BROKEN_RETRY = 30.0
"""Seconds between two tries of a broken child."""


class Restarts:
    """The history of one place for a child."""

    def __init__(self) -> None:
        self.deaths = 0
        """In a row, without a stable life between."""
        self.failed_starts = 0
        """In a row."""
        self.useless_lives = 0
        """In a row: it had started, and died soon, without a task."""

    @property
    def broken(self) -> bool:
        """Whether it does not start at all, or for nothing."""
        return self.failed_starts >= BROKEN_AFTER or self.useless

    @property
    def useless(self) -> bool:
        """Whether it starts, and dies again and again before it has a task."""
        return self.useless_lives >= USELESS_AFTER

    @property
    def breaking(self) -> bool:
        """Whether one more failed start makes it broken, or it is."""
        return self.failed_starts + 1 >= BROKEN_AFTER or self.useless

    def died(self, *, lived: float, started: bool, worked: bool = True) -> float:
        """It has died. Returns the seconds to wait before it is started again.

        Args:
            lived: seconds.
            started: whether it had said that it is ready.
            worked: whether it had a task once it was ready, or lived on for a while; true of a child that has
                no tasks.
        """
        self.failed_starts = 0 if started else self.failed_starts + 1
        if started:
            self.useless_lives = 0 if worked else self.useless_lives + 1
        if started and lived >= STABLE:
            self.deaths = 0
        self.deaths += 1
        if self.broken:
            return BROKEN_RETRY
        if self.deaths == 1 and started:
            return 0.0
        return min(LONGEST, FIRST * float(2 ** max(0, self.deaths - 2)))
