"""When does a machine settle: after each event, or once after all events of a round?

To settle is to do what follows from an event: send, give out work, ack, give credit. A shell that reads many
messages in a round lets the machine settle once after all of them, so that what they lead to shares messages.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Rounds"]


class Rounds:
    """Lets a machine settle.

    Args:
        settle: does what follows from the events so far.
    """

    __slots__ = ("_settle", "due", "together")

    def __init__(self, settle: Callable[[float], None]) -> None:
        self._settle = settle
        self.together = False
        """Whether the shell calls :meth:`end` after each round of events."""
        self.due = False
        """Whether there were events since the last settling."""

    def event(self, now: float) -> None:
        """Something has happened."""
        if self.together:
            self.due = True
        else:
            self._settle(now)

    def end(self, now: float) -> None:
        """The round is over."""
        if self.due:
            self.due = False
            self._settle(now)
