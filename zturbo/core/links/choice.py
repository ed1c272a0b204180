"""Which workers of a large stage a sender sends to, so that not every sender has a link to every worker.

**Chosen** peers are a small, balanced part of the stage (:func:`chosen`). Senders and receivers stand in two
rings, each in the order of their ids. A sender has the receivers that stand opposite, in a window of fixed
size. So all receivers have about as many senders, and each has one at least. A death shifts a window by one.
If some receivers are on the sender's host and others are not, half of the window is among the near ones.

**More peers** are tried while tasks wait (:class:`Choice`). A sender whose tasks have waited for
:data:`TRY_AFTER` seconds asks one more worker for a link, then another, after twice the time each. A worker
that has nothing to do is used at once, and the next one is asked at once. So if one sender has many tasks,
these soon reach all workers that are free. A worker that has work is used only if the sender could send
nothing for :data:`PATIENCE` seconds: the workers that it has may be held up for an hour. Additional peers
are let go one after another, :data:`KEEP` seconds after they were taken. Those that are free are soon found
again. So where all have work, the number of links stays small.

A link that is not used any more for new tasks lives on until what was sent over it is acked.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

from zturbo.wire.control.view import Member

__all__ = ["FANOUT", "KEEP", "PATIENCE", "TRY_AFTER", "Choice", "chosen"]

FANOUT = 6
"""Workers of the next stage that a sender has a link to. A stage with no more of them is not chosen from."""

TRY_AFTER = 0.1
"""Seconds that tasks wait before another worker is tried; doubles up to :data:`TRY_MAX`."""

TRY_MAX = 4.0

PATIENCE = 1.0
"""Seconds without a task sent, after which a worker that has work is used too."""

KEEP = 10.0
"""Seconds for which an additional worker is used at least."""

DROP_EVERY = 1.0
"""Seconds between two looks at additional workers; one of 16 of them is let go each time."""


def chosen(me: Member, senders: Iterable[Member], receivers: Iterable[Member], most: int) -> list[bytes]:
    """The workers that this sender has a link to.

    Args:
        me: the sender.
        senders: all of its stage, with itself.
        receivers: the workers to choose from.
        most: how many to choose; more only where some of them would have no sender otherwise.

    Returns:
        Their incarnations. Every receiver is chosen by one of the senders at least.
    """
    froms = sorted(member.incarnation for member in senders)
    to = sorted(member.incarnation for member in receivers)
    near = sorted(member.incarnation for member in receivers if member.host == me.host)
    if not near or len(near) == len(to):
        return _opposite(me.incarnation, froms, to, most)
    fellows = sorted(member.incarnation for member in senders if member.host == me.host)
    half = (most + 1) // 2
    here = _opposite(me.incarnation, fellows, near, half)[:half]
    return list(dict.fromkeys([*here, *_opposite(me.incarnation, froms, to, max(1, most - half))]))


def _opposite(me: bytes, froms: list[bytes], to: list[bytes], most: int) -> list[bytes]:
    """A window of the receivers' ring: ``most`` of them, or as many as leave no gap to the next sender's."""
    start = froms.index(me) * len(to) // len(froms)
    size = min(len(to), max(most, -(-len(to) // len(froms))))
    return [to[(start + k) % len(to)] for k in range(size)]


class Choice:
    """The workers of one destination that a sender uses, and those that it may try.

    Args:
        me: incarnation of the sender.
    """

    def __init__(self, me: bytes) -> None:
        self._me = me
        self.used: list[bytes] = []
        """Those that get tasks: the chosen ones, and additional ones."""
        self.chosen: list[bytes] = []
        """Those of :func:`chosen`."""
        self._more: dict[bytes, float] = {}
        """Additional worker -> until when it is used at least."""
        self._spare: dict[bytes, None] = {}
        """All others, in the order in which they are tried."""
        self.tried: bytes | None = None
        """The one that was asked last, and has not answered."""
        self._waits = False
        """Whether tasks wait."""
        self._sent_at = 0.0
        """When tasks were last sent, or began to wait."""
        self._delay = TRY_AFTER
        self._try_at = math.inf
        self._drop_at = math.inf

    def set_members(self, chosen: list[bytes], receivers: Iterable[Member], host: str) -> None:
        """Take the workers of a view: those that are chosen, and all. Those of this host are tried first."""
        self.chosen = chosen
        alive = {member.incarnation: member.host != host for member in receivers}
        self._more = {inc: until for inc, until in self._more.items() if inc in alive and inc not in chosen}
        order = sorted((far, zlib.crc32(self._me + inc), inc) for inc, far in alive.items())
        new = [inc for _, _, inc in order if inc not in self._spare]
        used = {*chosen, *self._more}
        self._spare = {inc: None for inc in (*new, *self._spare) if inc in alive and inc not in used}
        if self.tried not in self._spare:
            self.tried = None
        self._list()

    @property
    def members(self) -> list[bytes]:
        """All workers of the destination."""
        return [*self.used, *self._spare]

    def _list(self) -> None:
        self.used = [*self.chosen, *self._more]

    def sent(self, now: float) -> None:
        """Some of the tasks were sent."""
        self._sent_at = now

    def waits(self, now: float) -> None:
        """Tasks wait, and no worker that is used has credit."""
        if not self._waits:
            self._waits = True
            self._sent_at = now
            self._delay = TRY_AFTER
            self._try_at = now + self._delay

    def rests(self) -> None:
        """No tasks wait."""
        self._waits = False
        self.tried = None
        self._try_at = math.inf

    def next(self, now: float) -> bytes | None:
        """The worker to ask now; None if none is to be asked."""
        if now < self._try_at or not self._spare:
            return None
        self._try_at = now + self._delay
        self._delay = min(TRY_MAX, 2 * self._delay)
        self.tried = next(iter(self._spare))
        del self._spare[self.tried]
        self._spare[self.tried] = None
        return self.tried

    def answered(self, free: bool, now: float) -> bool:
        """The worker that was asked has answered, and is free or has work. Returns whether it is used now."""
        peer, self.tried = self.tried, None
        if peer is None or not (free or now - self._sent_at >= PATIENCE):
            return False
        del self._spare[peer]
        if not self._more:
            self._drop_at = now + KEEP
        self._more[peer] = now + KEEP
        self._sent_at = now
        if free:
            self._delay, self._try_at = TRY_AFTER, now
        self._list()
        return True

    def drop(self, now: float) -> list[bytes]:
        """Additional workers that are not used any more from now on."""
        if now < self._drop_at:
            return []
        over = [peer for peer, until in self._more.items() if until <= now]
        over = over[: max(1, len(self._more) // 16)]
        for peer in over:
            del self._more[peer]
            self._spare[peer] = None
        first = min(self._more.values(), default=math.inf)
        self._drop_at = max(first, now + DROP_EVERY)
        self._list()
        return over

    def check(self) -> None:
        """Assert every invariant."""
        assert self.used == [*self.chosen, *self._more]
        assert len({*self.used}) == len(self.used) and self._spare.keys().isdisjoint(self.used)
        assert self.chosen, "there is nobody to send to"
        assert self.tried is None or self.tried in self._spare

    def deadline(self) -> float:
        """When another worker is to be tried, or one to be let go; infinite if there is nothing to do."""
        return min(self._try_at if self._spare else math.inf, self._drop_at)
