"""Links that their ends report broken: after a lease, the endpoint most complained of is taken out.

A complaint counts only while whoever it is about is heard by the broker: one whose code holds the
interpreter for a minute answers nobody, and is busy, not unreachable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

__all__ = ["Complaints"]

FORGET_AFTER = 2.5
"""Seconds after which a complaint that is not repeated is over."""


class Complaints:
    """Who complains of whom.

    Args:
        lease: seconds that a link may be broken.
    """

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self._since: dict[tuple[bytes, bytes], tuple[float, float]] = {}
        """(who, about whom) -> (first, last)."""

    def add(self, who: bytes, about: bytes, now: float) -> None:
        """A member says that it gets no answer from another."""
        first, last = self._since.get((who, about), (now, now))
        if now - last > FORGET_AFTER:
            first = now
        self._since[(who, about)] = (first, now)

    def due(self, heard: Callable[[bytes], float | None], now: float) -> bytes | None:
        """Who is to be taken out now, if anybody.

        Args:
            heard: when a member was last heard; None if it is none any more.
            now: the time.
        """
        lasting: list[tuple[bytes, bytes]] = []
        for pair, (first, last) in list(self._since.items()):
            about = heard(pair[1])
            if now - last > FORGET_AFTER or about is None or heard(pair[0]) is None:
                del self._since[pair]
            elif now - first >= self.lease and about > first + self.lease / 2:
                lasting.append(pair)
        if not lasting:
            return None
        votes = Counter(inc for pair in lasting for inc in pair)
        accused = {about for _, about in lasting}
        # Of two that have as many votes, it is the one complained of.
        worst = max(votes, key=lambda inc: (votes[inc], inc in accused, inc))
        self._since = {pair: times for pair, times in self._since.items() if worst not in pair}
        return worst

    def deadline(self) -> float | None:
        """When somebody may be due."""
        return min((first + self.lease for first, _ in self._since.values()), default=None)
