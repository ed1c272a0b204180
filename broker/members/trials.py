"""Trials: does a message of this process get to that one? Some pairs are tried, in both directions.

Both ends of each pair are asked to ping the other one, and each end reports the pings that come. A ping that
has not come means something only if both ends are awake, and have been for :data:`ON_ITS_WAY` seconds: a
process whose code holds the interpreter sends no ping, and reports none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from zturbo.wire.control.view import Member

__all__ = ["PATIENCE", "Trial"]

PATIENCE = 3.0
"""Seconds that a trial lasts if a ping does not come."""

AGAIN = 0.5
"""Seconds after which a ping that has not come is asked for again."""

ON_ITS_WAY = 1.0
"""Seconds that a ping and the report of it may take."""


class Trial:
    """One trial.

    Args:
        number: of the trial.
        pairs: whose links are tried.
        now: the time.
    """

    def __init__(self, number: int, pairs: Iterable[tuple[Member, Member]], now: float) -> None:
        self.number = number
        self.pairs = list(pairs)
        self.until = now + PATIENCE
        self._ask_at = now
        self._awake: dict[bytes, float] = {}
        """Member -> since when it is known to be awake."""
        self._came: set[tuple[bytes, bytes]] = set()
        """(source, target) of the pings that came."""
        self._last = now
        """When the last of them came."""
        self._ways = {way for a, b in self.pairs for way in _both(a.incarnation, b.incarnation)}

    def asks(self, now: float) -> list[tuple[Member, tuple[Member, ...]]]:
        """(who, whom): the members that are to be asked to ping others now."""
        if now < self._ask_at:
            return []
        if self.over(now):
            self._ask_at = math.inf
            return []
        self._ask_at = now + AGAIN
        members = {member.incarnation: member for pair in self.pairs for member in pair}
        whom: dict[bytes, list[Member]] = {}
        for source, target in sorted(self._ways - self._came):
            whom.setdefault(source, []).append(members[target])
            if target not in self._awake:
                whom.setdefault(target, [])
        return [(members[source], tuple(targets)) for source, targets in whom.items()]

    def awake(self, who: bytes, now: float) -> None:
        """A member says that it has sent its pings."""
        self._awake.setdefault(who, now)

    def came(self, source: bytes, target: bytes, now: float) -> None:
        """A member says that another's ping has come."""
        self._came.add((source, target))
        self._last = now

    @property
    def ended(self) -> float:
        """When it was over, once it is."""
        return self._last if self._ways <= self._came else self.until

    def over(self, now: float) -> bool:
        """Whether no more is to be learnt."""
        return self._ways <= self._came or now >= self.until

    def reaches(self, source: bytes, target: bytes, now: float) -> bool | None:
        """Whether messages of one member get to another; None if that is not known."""
        if (source, target) in self._came:
            return True
        since = [self._awake.get(end) for end in (source, target)]
        known = (source, target) in self._ways and all(
            at is not None and at + ON_ITS_WAY <= min(now, self.until) for at in since
        )
        return False if known else None

    def works(self, one: bytes, other: bytes, now: float) -> bool | None:
        """Whether two members reach each other; None if that is not known."""
        ways = [self.reaches(source, target, now) for source, target in _both(one, other)]
        return False if False in ways else None if None in ways else True

    def deadline(self) -> float | None:
        """When :meth:`asks` is due; None once it was asked after the trial's end."""
        return None if self._ask_at == math.inf else min(self._ask_at, self.until)


def _both(one: bytes, other: bytes) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return (one, other), (other, one)
