"""Members, and the numbered view of them."""

from __future__ import annotations

from typing import Any

from zturbo.checks import is_endpoint
from zturbo.errors import DecodeError
from zturbo.slotted import slotted
from zturbo.wire.control.fields import Bool, Bytes, Choice, Int, Key, ListOf, Parsed, Text, TupleOf
from zturbo.wire.messages import MAX_STAGES

__all__ = ["Member", "View", "ViewChange"]


@slotted(frozen=True)
class Member:
    """One process in a view."""

    incarnation: bytes
    role: str
    """``broker``, ``worker`` or ``sink``."""
    pipeline: str
    """The worker's pipeline; empty for a broker and for a sink, which serve all pipelines."""
    stage: int
    """Index of the worker's stage; -1 for a broker or a sink."""
    host: str
    """Name of its host; processes with the same ``host`` reach each other over ipc."""
    endpoints: tuple[str, ...]
    """Addresses of its inbox: ipc first, then tcp."""
    results: tuple[str, ...] = ()
    """Addresses at which clients reach a sink."""
    slots: int = 0
    """Most jobs of an ordered worker at once; 0 for any number."""
    ordered: bool = False
    """Whether a sequencer precedes its code."""
    deterministic: bool = True
    """Whether its code gives the same fan-out each time."""
    spool: bytes = b""
    """Id of a sink's spool. A sink that starts on the spool of another takes over its jobs."""
    code: str = ""
    """Fingerprint of a worker's code; the broker sets it. Empty if it is not known, or is not to matter."""
    key: str = ""
    """Public key of the node that it runs under; the broker sets it. Messages in its name have to come under
    this key. Empty without keys."""
    stateful: bool = False
    """Whether its code has a state of its own for each job: the stage has ``reset()``."""

    def to_wire(self) -> tuple[Any, ...]:
        """The member as a plain tuple, for msgpack."""
        return (
            self.incarnation,
            self.role,
            self.pipeline,
            self.stage,
            self.host,
            self.endpoints,
            self.results,
            self.slots,
            self.ordered,
            self.deterministic,
            self.spool,
            self.code,
            self.key,
            self.stateful,
        )

    @classmethod
    def from_wire(cls, value: Any) -> Member:
        """The member that a decoded tuple describes; raises DecodeError."""
        try:
            return cls(*_MEMBER.check(value))
        except DecodeError as error:
            raise DecodeError(f"member is malformed: a value {error}") from None


def _endpoint(value: Any) -> str:
    if type(value) is not str or not is_endpoint(value):
        raise DecodeError("is to be an endpoint, tcp://IP:PORT or ipc://PATH")
    return value


_ENDPOINTS = ListOf(Parsed(_endpoint), 16)
_MEMBER = TupleOf(
    (
        Key(),
        Choice(("broker", "worker", "sink")),
        Text(1000),
        Int(-1, MAX_STAGES),
        Text(1000),
        _ENDPOINTS,
        _ENDPOINTS,
        Int(0, 1 << 31),
        Bool(),
        Bool(),
        Bytes(64),
        Text(100),
        Text(40),
        Bool(),
    )
)


@slotted(frozen=True)
class View:
    """A numbered membership; only the broker makes one."""

    number: int
    members: dict[bytes, Member]

    def to_wire(self) -> tuple[Any, ...]:
        """The view as a plain tuple, for msgpack."""
        return (self.number, tuple(member.to_wire() for member in self.members.values()))

    @classmethod
    def from_wire(cls, value: Any) -> View:
        """The view that a decoded tuple describes; raises DecodeError."""
        try:
            number, parts = _VIEW.check(value)
        except DecodeError as error:
            raise DecodeError(f"view is malformed: it {error}") from None
        return cls(number, {member.incarnation: member for member in parts})


_VIEW = TupleOf((Int(), ListOf(Parsed(Member.from_wire), 100_000)))


@slotted(frozen=True)
class ViewChange:
    """What has changed between two views: it takes the first of them, or any between, to the second."""

    base: int
    """Number of the first view."""
    number: int
    """Number of the second one."""
    joined: tuple[Member, ...]
    left: tuple[bytes, ...]
    """Members that have left since the first view, also those that had joined after it."""

    @classmethod
    def between(cls, before: View, after: View, left: tuple[bytes, ...]) -> ViewChange:
        """The change from one view to a later one, and ``left`` are all members that have left meanwhile."""
        gone = set(left)
        joined = tuple(
            member
            for incarnation, member in after.members.items()
            if incarnation in gone or incarnation not in before.members
        )
        return cls(before.number, after.number, joined, left)

    def applied(self, view: View) -> View | None:
        """The later view, made of one that a member has; None if the member's is too old for that.

        A view that is as new as the later one, or newer, is returned as it is.
        """
        if view.number >= self.number:
            return view
        if view.number < self.base:
            return None
        gone = {*self.left, *(member.incarnation for member in self.joined)}
        members = {inc: member for inc, member in view.members.items() if inc not in gone}
        members.update((member.incarnation, member) for member in self.joined)
        return View(self.number, members)

    def to_wire(self) -> tuple[Any, ...]:
        """The change as a plain tuple, for msgpack."""
        return (self.base, self.number, tuple(member.to_wire() for member in self.joined), self.left)

    @classmethod
    def from_wire(cls, value: Any) -> ViewChange:
        """The change that a decoded tuple describes; raises DecodeError."""
        try:
            base, number, joined, left = _CHANGE.check(value)
        except DecodeError as error:
            raise DecodeError(f"change of the view is malformed: it {error}") from None
        return cls(base, number, tuple(joined), tuple(left))


_CHANGE = TupleOf((Int(), Int(), ListOf(Parsed(Member.from_wire), 100_000), ListOf(Key(), 100_000)))
