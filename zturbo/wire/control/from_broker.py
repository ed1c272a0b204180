"""The messages of a broker."""

from __future__ import annotations

from typing import Annotated, Any

from zturbo.wire.control.fields import MANY, AtMost, Code, Count, Epoch, Id, Int, Line, Name, Parsed, Raw, Ref
from zturbo.wire.control.message import Message, vocabulary
from zturbo.wire.control.to_broker import MAX_SECONDS, Looking
from zturbo.wire.control.view import Member, View, ViewChange
from zturbo.wire.messages import Stamp
from zturbo.wire.stamps import stamp_from_wire

__all__ = [
    "MESSAGES",
    "AskEntered",
    "Confirmed",
    "Error",
    "Forget",
    "HeldOk",
    "LookAt",
    "Moved",
    "NewStamp",
    "NewView",
    "NotAdmitted",
    "Ok",
    "PingThem",
    "Readers",
    "RecoveredOk",
    "Refused",
    "Renewed",
    "SayHello",
    "ViewChanges",
    "Wait",
    "Welcome",
]


MAX_PINGS = 64
"""Most processes that one is asked to ping at a time."""


class Welcome(Message):
    """A member has joined."""

    view: View
    broker: Id
    version: Code


class NewView(Message, type_name="view"):
    """The view has changed."""

    view: View


class ViewChanges(Message):
    """A large view has changed: what is different since the last one that was sent to all members."""

    change: Annotated[ViewChange, Parsed(ViewChange.from_wire)]


class NewStamp(Message, type_name="stamp"):
    """A job's stamp has a higher epoch or revision."""

    stamp: Annotated[Stamp, Parsed(stamp_from_wire)]


class Forget(Message):
    """These jobs have ended."""

    jobs: Annotated[tuple[Id, ...], AtMost(1 << 24)]


class Moved(Message):
    """A client has asked where the results of these jobs are, and that may have changed."""

    jobs: Annotated[tuple[Id, ...], AtMost(MANY)]


class Confirmed(Message):
    """The ends of these jobs, which their sink has told, are in the ledger."""

    jobs: Annotated[tuple[Id, ...], AtMost(MANY)]


class Refused(Message):
    """A member cannot join, or was taken out."""

    reason: Line
    final: bool = False
    """Whether no process of the same installation will ever be able to join."""


class NotAdmitted(Message):
    """A process is no member yet: it and a member do not reach each other. It is tried again later."""

    reason: Line


class PingThem(Message, type_name="ping"):
    """Asks a process to ping some members, or processes that want to be members."""

    trial: Count
    members: Annotated[tuple[Member, ...], AtMost(MAX_PINGS)]


class Renewed(Message):
    """A node's ``renew`` has arrived."""


class SayHello(Message):
    """Asks a member to say hello now: its node has not renewed its lease for half of it."""


class HeldOk(Message, type_name="held_ok"):
    """A worker's ``held`` has arrived."""

    broker: Id


class Readers(Message):
    """Tells a sink which keys may read results."""

    readers: Annotated[tuple[tuple[Code, Code, Code], ...], AtMost(MANY)]
    """(public key, role, name) of each."""
    shared: bool
    """Whether each client may read the jobs of all."""


class RecoveredOk(Message, type_name="recovered_ok"):
    """A sink's ``recovered`` has arrived."""


class AskEntered(Message, type_name="ask_entered"):
    """Asks which roots have wholly entered a job's first sequencer."""

    job: Id
    epoch: Epoch


class LookAt(Message, type_name="look_at"):
    """Asks a node what one of its processes does."""

    number: Count
    target: Id
    kind: Looking
    seconds: Annotated[int, Int(0, MAX_SECONDS)]
    ends: Annotated[tuple[Name, ...], AtMost(32)] = ()
    """Addresses of a member on another host, for ``reach``."""


class Ok(Message):
    """The answer to a request. The request's class says of which class the value is."""

    ref: Ref
    value: Annotated[Any, Raw()]


class Error(Message):
    """A request was refused."""

    ref: Ref
    kind: Code
    """Name of a class in :mod:`zturbo.errors`."""
    message: Line


class Wait(Message):
    """A request has to wait at the broker; ``reason`` says for what."""

    ref: Ref
    reason: Line


MESSAGES = vocabulary(globals())
"""Type on the wire -> class."""
