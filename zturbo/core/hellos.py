"""When a member says hello, which is its heartbeat, and brings what got lost on its way.

A member says hello each second, and less often among more than a thousand: a broker hears a thousand hellos
a second at most (:func:`every`). One that has nothing to do says it seldom, as long as a node beside it
renews its lease: so the broker of an idle network sleeps, however many members there are. A message to the
member is the end of its rest. So is a new connection to the broker, which may be another broker.
A broker that hears neither a member nor its node asks for a hello: the node may stand still.
"""

from __future__ import annotations

__all__ = ["HELLO_EVERY", "REST", "Hellos", "every"]

HELLO_EVERY = 1.0
"""Seconds between two hellos."""

JOINING = 0.1
"""Seconds between two hellos of a process that is no member yet."""

A_SECOND = 1000
"""Hellos of all members in a second, at most, as long as nodes renew the leases."""

AWAKE = 5.0
"""Seconds after the last event in which hellos are said as often: they mend what got lost after it."""

OFTEN = 10.0
"""Seconds for which a member that was asked for a hello says it each second, however many members there are:
the broker finds out whether the member can be reached."""

REST = 30.0
"""Seconds between two hellos of a member that rests."""


def every(members: int) -> float:
    """Seconds between two hellos of a member that has something to do, if a node renews its lease.

    Args:
        members: how many there are.
    """
    return min(REST, max(HELLO_EVERY, members / A_SECOND))


class Hellos:
    """The hellos of one member."""

    def __init__(self) -> None:
        self.at = 0.0
        """When to ask :meth:`due` again."""
        self.waits = False
        """Whether the broker has said that this process is to wait before it can join."""
        self._said = float("-inf")
        self._awake_until = 0.0
        self._often_until = 0.0

    def event(self, now: float) -> None:
        """A message came, or a job is here."""
        self._awake_until = now + AWAKE

    def asked(self, now: float) -> None:
        """The broker asks for a hello, or a new connection to a broker stands: say it at once."""
        self.event(now)
        self.at = now
        self._said = float("-inf")
        self._often_until = now + OFTEN

    def due(self, now: float, *, joined: bool, renewed: bool, members: int = 0) -> bool:
        """Whether to say hello now.

        Args:
            now: monotonic seconds.
            joined: whether this process is a member.
            renewed: whether a node renews its lease.
            members: how many members there are.
        """
        if now < self.at:
            return False
        self.at = now + (HELLO_EVERY if joined or self.waits else JOINING)
        if now < self._often_until:
            pause = HELLO_EVERY
        else:
            pause = every(members) if now < self._awake_until else REST
        if joined and renewed and now < self._said + pause:
            return False
        self._said = now
        return True
