"""What a key may do: send the messages of its role, in the name of its own members, about its own jobs.

The key is that of the connection from which a message has come. What the message itself says of its sender
counts for nothing here: incarnations and ids of jobs are known to many.

Without keys nothing of this is asked. So it is on loopback and on ipc, where all processes are the user's
own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from zturbo.errors import AccessDenied
from zturbo.slotted import slotted
from zturbo.wire.control import to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo_broker.members.leases import Membership
from zturbo_broker.members.speakers import speaker_of

__all__ = ["MAY", "Rights", "User"]


@slotted(frozen=True)
class User:
    """Who has sent a message, as its connection proves."""

    role: str
    """``node``, ``client``, ``viewer`` or ``admin``."""
    name: str
    key: str
    """Its public key."""

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


class Owned(Protocol):
    """A job."""

    owner: str
    """Name of the key under which it was submitted."""


_NODES = frozenset({"node"})
_READERS = frozenset({"client", "viewer", "admin"})
_CLIENTS = frozenset({"client", "admin"})

MAY: dict[type[Message], frozenset[str]] = {
    to_broker.Hello: _NODES,
    to_broker.GetView: _NODES,
    to_broker.Leave: _NODES,
    to_broker.Progress: _NODES,
    to_broker.LastCounts: _NODES,
    to_broker.Broken: _NODES,
    to_broker.Pinging: _NODES,
    to_broker.Pinged: _NODES,
    to_broker.Draining: _NODES,
    to_broker.Trouble: _NODES,
    to_broker.Log: _NODES,
    to_broker.Measured: _NODES,
    to_broker.Held: _NODES,
    to_broker.Entered: _NODES,
    to_broker.Recovered: _NODES,
    to_broker.Pause: _NODES,
    to_broker.RootsTaken: _NODES,
    to_broker.Complete: _NODES,
    to_broker.KnownFailures: _NODES,
    to_broker.JobFailed: _NODES,
    to_broker.Renew: _NODES,
    to_broker.Exited: _NODES,
    to_broker.StartFailed: _NODES,
    to_broker.Seen: _NODES,
    to_broker.ClientHello: _READERS,
    to_broker.Attach: _READERS,
    to_broker.Watch: _READERS,
    to_broker.Jobs: _READERS,
    to_broker.Members: _READERS,
    to_broker.Telemetry: _READERS,
    to_broker.Logs: _READERS,
    to_broker.Look: _READERS,
    to_broker.Submit: _CLIENTS,
    to_broker.Feed: _CLIENTS,
    to_broker.CloseFeed: _CLIENTS,
    to_broker.Cancel: _CLIENTS,
    to_broker.Release: _CLIENTS,
}
"""Kind of message -> the roles that may send it. A kind that is missing here is sent by nobody."""

_OF_MEMBERS = (
    to_broker.Progress,
    to_broker.LastCounts,
    to_broker.Broken,
    to_broker.Trouble,
    to_broker.Log,
    to_broker.Measured,
    to_broker.Held,
    to_broker.Entered,
    to_broker.Recovered,
    to_broker.Pause,
    to_broker.RootsTaken,
    to_broker.Complete,
    to_broker.KnownFailures,
    to_broker.JobFailed,
)
"""Kinds that have an effect only if their sender is in the view."""


class Rights:
    """Says whether a message is taken.

    Args:
        membership: the members, with the key of each.
        find: finds a job.
        shared: whether each client may read and cancel the jobs of all.
    """

    def __init__(
        self, membership: Membership, find: Callable[[bytes], Owned | None], *, shared: bool = False
    ) -> None:
        self.membership = membership
        self._find = find
        self.shared = shared

    def check(self, user: User, who: bytes, message: Message) -> bool:
        """Whether a message has an effect: that of a process which is no member (any more) has none.

        Args:
            user: whose key the connection has.
            who: the identity of the connection.
            message: what came.

        Raises:
            AccessDenied: this key may not send it.
        """
        self._check_members(user, (who,))
        if user.role not in MAY.get(type(message), frozenset()):
            raise AccessDenied(f"a {user.role}'s key may not send {message.type_name!r}")
        if user.role == "node":
            self._check_members(user, self._named(message))
            return not isinstance(message, _OF_MEMBERS) or message.incarnation in self.membership
        if isinstance(message, (to_broker.ClientHello, to_broker.Submit)) and message.client != who:
            raise AccessDenied(f"{message.type_name} speaks in another client's name")
        for job in _jobs_of(message):
            self.check_job(user, job)
        return True

    def _named(self, message: Message) -> Iterable[bytes]:
        """The members in whose name, or of whose life, a node's message speaks."""
        if isinstance(message, to_broker.Renew):
            return message.alive
        if isinstance(message, (to_broker.Exited, to_broker.StartFailed)):
            return (message.incarnation,)
        name = speaker_of(message)
        return () if name is None else (name,)

    def _check_members(self, user: User, named: Iterable[bytes]) -> None:
        for incarnation in named:
            member = self.member(incarnation)
            if member is not None and member.key != user.key:
                raise AccessDenied("it speaks for a process that runs under another node's key")

    def member(self, incarnation: bytes) -> Member | None:
        """A member, or the broker itself."""
        broker = self.membership.broker
        return broker if incarnation == broker.incarnation else self.membership.get(incarnation)

    def check_job(self, user: User, job_id: bytes) -> None:
        """Raise AccessDenied if a job is another's, and this key may not see it."""
        job = self._find(job_id)
        if job is not None and not self.sees(user, job):
            raise AccessDenied("the job was submitted under another key")

    def sees(self, user: User | None, job: Owned) -> bool:
        """Whether this user may know of a job. Without keys each does."""
        return user is None or user.role != "client" or self.shared or job.owner == user.name


def _jobs_of(message: Message) -> Iterable[bytes]:
    """The jobs that a client's message is about. That of a submitted one is looked at when it is taken."""
    if isinstance(message, to_broker.Watch):
        return message.jobs
    if isinstance(message, (to_broker.Jobs, to_broker.Logs)):
        return () if message.job is None else (message.job,)
    job: bytes | None = getattr(message, "job", None)
    return () if job is None else (job,)
