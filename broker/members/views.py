"""Which views all members are sent, and when: small ones whole and at once, of large ones what has changed.

To send each change of a view to all members takes the square of their number. So a view of more than
:data:`WHOLE` members is sent as a change from the one before, and changes that follow one another are sent
together: the more members there are, the longer one waits for the next. A member that has missed a change
says so with its next hello, by the number of its view, and gets the whole view. Newcomers to a large view,
and those that have missed a change of it, get the whole one together with the next change: so it is packed
once for all of them.
"""

from __future__ import annotations

from zturbo.wire.control import from_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import View, ViewChange
from zturbo_broker.members.leases import Membership

__all__ = ["WHOLE", "Views"]

WHOLE = 64
"""Members up to which a view is sent whole and at once."""

PER_MEMBER = 0.0005
"""Seconds between two changes of a larger view, for each of its members."""

LONGEST = 1.0
"""Seconds between two changes at most."""


class Views:
    """The views that were sent to all members.

    Args:
        membership: the members.
        whole: members up to which a view is sent whole and at once.
    """

    def __init__(self, membership: Membership, whole: int = WHOLE) -> None:
        self._membership = membership
        self.whole = whole
        self.sent = membership.number
        """Number of the view that all members were sent last."""
        self._shown: View | None = None
        """That view; None before the first."""
        self._next_at = 0.0
        self.owed: dict[bytes, None] = {}
        """Members that get the whole view when the next change is sent."""
        self.recorded = True
        """Whether the ledger has the members as they are."""

    @property
    def large(self) -> bool:
        """Whether changes are sent, and sent together."""
        return len(self._membership) > self.whole

    @property
    def changed(self) -> bool:
        """Whether the view has changed since it was sent."""
        return self._membership.number != self.sent

    def due(self, now: float) -> bool:
        """Whether the changed view is to be sent now, to all or to those that are owed it."""
        return (self.changed or bool(self.owed)) and (not self.large or now >= self._next_at)

    def deadline(self) -> float | None:
        """When it is due."""
        return self._next_at if self.changed or self.owed else None

    def take(self, now: float) -> tuple[View, Message]:
        """The present view, and the message that takes it to all members."""
        view = self._membership.view()
        left = self._membership.take_left()
        before, self._shown = self._shown, view
        self.sent = view.number
        self._next_at = now + self._pause
        if before is None or not self.large:
            return view, from_broker.NewView(view=view)
        return view, from_broker.ViewChanges(change=ViewChange.between(before, view, left))

    @property
    def _pause(self) -> float:
        return min(LONGEST, PER_MEMBER * len(self._membership))

    def take_owed(self, now: float) -> list[bytes]:
        """The members that get the whole view now."""
        owed, self.owed = list(self.owed), {}
        if owed:
            self._next_at = now + self._pause
        return owed

    def behind(self, number: int) -> bool:
        """Whether a member that says that it has this view is to be sent the whole one."""
        present = self._membership.number
        return not self.sent <= number <= present if self.large else number != present
