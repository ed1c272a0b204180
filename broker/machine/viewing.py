"""The view goes out: to members, newcomers, and the broker's own links."""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.core.effects import Control
from zturbo.core.links.senders import Senders
from zturbo.jobstates import JobState
from zturbo.wire.control import from_broker
from zturbo.wire.control.view import Member
from zturbo_broker.machine.known import Known

__all__ = ["Viewing"]


class Viewing:
    """Sends views; ``members/views.py`` says when.

    Args:
        known: the facts that all parts use.
        senders: the broker's links.
    """

    def __init__(self, known: Known, senders: Senders) -> None:
        self.known = known
        self.senders = senders

    def send(self, now: float) -> None:
        """Send the changed view to all, and the whole one to those that are owed it."""
        self.known.record_members()
        if self.known.views.changed:
            view, message = self.known.views.take(now)
            for member in self.known.membership.members():
                if member.incarnation not in self.known.views.owed:
                    self.known.effects.append(Control(message, member.incarnation))
            self.senders.set_view(view, self._peers(), now)
        self.welcome(self.known.views.take_owed(now))

    def welcome(self, whom: Sequence[bytes]) -> None:
        """Send the whole view to some members, newcomers or others."""
        members = [member for inc in whom if (member := self.known.membership.get(inc)) is not None]
        # Stamps that may have got lost come first: members act on the view.
        for job in [self.known.jobs[name] for name in self.known.table.restamped]:
            stamp = job.stamp
            if job.state is JobState.RUNNING and stamp is not None:
                for member in members:
                    if member.role == "sink" or member.pipeline == job.pipeline:
                        message = from_broker.NewStamp(stamp=stamp)
                        self.known.effects.append(Control(message, member.incarnation))
        if members:
            view = self.known.membership.view()
            welcome = from_broker.Welcome(view=view, broker=self.known.me, version=self.known.version)
            self.known.effects.extend(Control(welcome, member.incarnation) for member in members)

    def _peers(self) -> list[Member]:
        """The members to which the broker sends roots (first stages) or their END (ordered stages, sinks)."""
        return [m for m in self.known.membership.members() if m.stage == 0 or m.ordered or m.role == "sink"]
