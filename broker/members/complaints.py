"""Links that their ends report broken, for a lease: then one end is taken out of the view.

Which one, ``verdict.py`` decides from who reaches whom (``trials.py``). If the ends do reach each other, or
that is not known, one of them may only be slow: then the link may be broken for :data:`UNCLEAR` leases.

A complaint counts only if the broker has heard the accused member since the complaint was first said. A
member whose code holds the interpreter for a minute is busy, not unreachable: it answers no link, and says no
hello either. Complaints about it are void meanwhile, and begin anew when the broker hears it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from zturbo.slotted import slotted

__all__ = ["Complaints"]

FORGET_AFTER = 2.5
"""Seconds after which a complaint that is not repeated is over."""

SILENT_AFTER = 2.5
"""Seconds without a hello after which a complaint about a member is void. One that is awake says it each
second; one that rests is asked for it."""

PROMPT = 1.5
"""Seconds in which a member that only rested answers. Then the complaint counts from the question on."""

UNCLEAR = 6
"""Leases that a link may be broken of which the pings do not tell why. Its ends may be slow, on a host with
much to do."""

LOOK_AGAIN = 0.25
"""Seconds until the next look at a link that is being tried."""

LASTS_AFTER = 1.5
"""Seconds that a complaint has to last even if a lease is short: so it was said three times."""


@slotted
class _Complaint:
    first: float
    last: float
    lasts: bool = False
    """Whether it counts: it was repeated for half a lease, and the broker heard the accused meanwhile."""
    told: bool = False
    """Whether the log has it."""


class Complaints:
    """The complaints of members, and of the broker, about each other.

    Args:
        lease: seconds that a link may be broken.
        heard: tells when a member was last heard, a time that never decreases; None for an id that is no
            member's (any more); infinity for the broker itself, which is never taken out.
    """

    def __init__(self, lease: float, heard: Callable[[bytes], float | None]) -> None:
        self.lease = lease
        self._not_before = -math.inf
        self._heard = heard
        self._all: dict[tuple[bytes, bytes], _Complaint] = {}
        """(complaining member, accused member) -> complaint."""
        self._asked: dict[bytes, float] = {}
        """Accused member -> when it was asked for a hello."""

    def add(self, who: bytes, about: bytes, now: float) -> bool:
        """A member says that it gets no answer from another.

        Returns:
            Whether to ask the accused member for a hello: one that rests says it seldom by itself.
        """
        heard = self._heard(about)
        if heard is None or self._heard(who) is None:
            self._all.pop((who, about), None)
            return False
        asked = self._asked.get(about, -math.inf)
        if now - heard > SILENT_AFTER:
            self._all.pop((who, about), None)
            if now - asked <= FORGET_AFTER:
                return False
            self._asked[about] = now
            return True
        known = self._all.get((who, about))
        if known is None or now - known.last > FORGET_AFTER:
            prompt = asked < heard <= asked + PROMPT and now - asked <= FORGET_AFTER
            self._all[who, about] = _Complaint(asked if prompt else now, now)
            return False
        known.last = now
        known.lasts = now - known.first >= max(self.lease / 2, LASTS_AFTER) and heard > known.first
        return False

    def overdue(self, now: float) -> list[tuple[bytes, bytes]]:
        """(who, about whom) of each link that was broken for a lease."""
        self._forget(now)
        return [pair for pair, known in self._all.items() if known.lasts and now >= known.first + self.lease]

    def outlasts(self, who: bytes, about: bytes, now: float) -> bool:
        """Whether a complaint that still stands is too old even for a slow end."""
        return now >= self._all[who, about].first + UNCLEAR * self.lease

    def to_tell(self, who: bytes, about: bytes) -> bool:
        """Whether the log is to have this complaint now: it has each once."""
        known = self._all[who, about]
        known.told, told = True, known.told
        return not told

    def since(self, who: bytes, about: bytes) -> float:
        """When a complaint that still stands was first made."""
        return self._all[who, about].first

    def settle(self, member: bytes) -> None:
        """Forget all complaints of a member and about it: it is taken out, or its complaints begin anew."""
        self._all = {pair: known for pair, known in self._all.items() if member not in pair}

    def _forget(self, now: float) -> None:
        self._asked = {about: at for about, at in self._asked.items() if now - at <= FORGET_AFTER}
        for pair, known in list(self._all.items()):
            if now - known.last > FORGET_AFTER or None in (self._heard(pair[0]), self._heard(pair[1])):
                del self._all[pair]

    def postpone(self, now: float) -> None:
        """Decide a little later: it is being tried who reaches whom."""
        self._not_before = now + LOOK_AGAIN

    def deadline(self) -> float | None:
        """When a member may next have to be taken out."""
        if not self._all:
            return None
        times = [known.first + self.lease for known in self._all.values() if known.lasts]
        return max(min(times), self._not_before) if times else None
