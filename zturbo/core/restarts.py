"""When to start a child again: at once, then later and later.

A child that ran for a while is started again at once. A child that dies again and again waits 0.1 s,
doubling up to 10 s. A child that failed to start three times in a row (its import or ``init()`` raised) is
*broken*. It is tried every 30 s, so that it comes back soon after its code is mended. A child is broken too
if it starts, and five times in a row dies soon and before it has had a task. No task is to blame then, so the
cause will be there in its next life too.
"""

from __future__ import annotations

__all__ = ["STABLE", "Restarts"]

FIRST, LONGEST = 0.1, 10.0
"""Seconds to wait: after the second death in a row, and at most."""

STABLE = 3.0
"""Seconds of life after which earlier deaths are forgotten."""

BROKEN_AFTER = 3
"""Failed starts in a row that make a child broken."""

USELESS_AFTER = 5
"""Short lives in a row without a task that make a child broken."""

BROKEN_RETRY = 30.0
"""Seconds between two tries of a broken child."""


class Restarts:
    """The deaths of the children that one seat has had."""

    def __init__(self) -> None:
        self.deaths = 0
        """In a row, without a stable life between."""
        self.failed_starts = 0
        """In a row."""
        self.useless_lives = 0
        """In a row: the child had started, and died soon, without a task."""

    @property
    def broken(self) -> bool:
        """Whether the child does not start at all, or starts in vain."""
        return self.failed_starts >= BROKEN_AFTER or self.useless

    @property
    def useless(self) -> bool:
        """Whether the child starts, and dies again and again before it has a task."""
        return self.useless_lives >= USELESS_AFTER

    @property
    def breaking(self) -> bool:
        """Whether the child is useless, or one more failed start makes it broken."""
        return self.failed_starts + 1 >= BROKEN_AFTER or self.useless

    def died(self, *, lived: float, started: bool, worked: bool = True) -> float:
        """Count a death. Returns the seconds to wait before the child is started again.

        Args:
            lived: seconds from its start to its death.
            started: whether it had said that it was ready.
            worked: whether it had a task after it was ready, or lived on for a while. True for a child that
                gets no tasks, such as a sink.
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
