"""The vocabulary of the control plane: maps between the broker and everybody else.

Each message is one msgpack map with a ``type``; :data:`SCHEMA` lists its fields and their bounds. A field
that is not listed, is missing, or is beyond its bounds is a :class:`~zturbo.errors.DecodeError` that says so.
Nodes, workers, sinks and clients are DEALERs to the broker's ROUTER; a ``ref`` in a message comes
back in the broker's ``ok`` or ``error``, and whoever sent it repeats it until one of them comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from zturbo.checks import is_endpoint
from zturbo.errors import DecodeError
from zturbo.wire.bounds import Bounds, unpack
from zturbo.wire.codec import stamp_from_wire, stamp_to_wire
from zturbo.wire.messages import MAX_DEPTH, MAX_INT, MAX_STAGES, MAX_TEXT, Buffer, Stamp, clip
from zturbo.wire.schema import (
    COUNT,
    Any_,
    Bool,
    Bytes,
    Choice,
    Id,
    Int,
    Kind,
    ListOf,
    MapOf,
    Optional_,
    Parsed,
    Scalar,
    Text,
    TupleOf,
)

__all__ = [
    "FROM_BROKER",
    "LEVELS",
    "MAX_ANSWER",
    "MAX_CONTROL",
    "MAX_OVER",
    "SCHEMA",
    "TO_BROKER",
    "Member",
    "View",
    "pack_control",
    "ref_of",
    "unpack_control",
]

MAX_CONTROL = 16 << 20
"""Bytes of a message to a broker, beside the contents that come with it out of band."""

MAX_OVER = 64
"""Jobs that a client names as complete when it asks for their status."""

MAX_ANSWER = 1 << 28
"""Bytes of what a broker says."""

LAST = 64
"""Bytes at the end of a message in which its ref is."""

ID = Id()

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""Of what a member logs."""


@dataclass(slots=True, frozen=True)
class Member:
    """One process in a view."""

    incarnation: bytes
    role: str
    """``broker``, ``worker`` or ``sink``."""
    pipeline: str
    """Empty for a broker and for a sink, who serve all."""
    stage: int
    """Index of its stage; -1 for a broker or a sink."""
    host: str
    """Processes of equal ``host`` reach each other over ipc."""
    endpoints: tuple[str, ...]
    """Where its inbox is bound: ipc first, then tcp."""
    results: tuple[str, ...] = ()
    """Where a sink's clients connect to."""
    slots: int = 0
    """Jobs that an ordered worker may have at once; 0 for any number."""
    ordered: bool = False
    """Whether a sequencer precedes its code."""
    deterministic: bool = True
    """Whether its code gives the same fan-out each time."""
    spool: bytes = b""
    """Id of a sink's spool: a sink that is started again on it is the same sink to its jobs."""

    def to_wire(self) -> tuple[Any, ...]:
        """As a plain tuple for msgpack."""
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
        )

    @classmethod
    def from_wire(cls, value: Any) -> Member:
        """The member in a decoded tuple; raises DecodeError."""
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
        ID,
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
    )
)


@dataclass(slots=True, frozen=True)
class View:
    """A numbered membership; only the broker makes one."""

    number: int
    members: dict[bytes, Member]

    def to_wire(self) -> tuple[Any, ...]:
        """As a plain tuple for msgpack."""
        return (self.number, tuple(member.to_wire() for member in self.members.values()))

    @classmethod
    def from_wire(cls, value: Any) -> View:
        """The view in a decoded tuple; raises DecodeError."""
        try:
            number, parts = _VIEW.check(value)
        except DecodeError as error:
            raise DecodeError(f"view is malformed: it {error}") from None
        members = [Member.from_wire(part) for part in parts]
        return cls(number, {member.incarnation: member for member in members})


_VIEW = TupleOf((Int(), ListOf(Any_(), 100_000)))

_NAME = Text(1000)
"""Of a job, a pipeline, a stage, a host."""
_LINE = Text(MAX_TEXT)
"""A sentence for people; whoever says a longer one has it cut."""
_PAGE = Text(50_000)
"""A traceback; cut likewise."""
_NUMBER = Int()
_REF = Int()
_EPOCH = Int()
_COUNT = Int(0, COUNT)
_PATH = ListOf(Int(), MAX_DEPTH)
_RANK = TupleOf((ID, _EPOCH, Int()))
"""(job, epoch, revision)"""
_ROOT_RUN = TupleOf((ListOf(_COUNT, 1), Int(1, COUNT)))
_SIGNED = Int(-MAX_INT)
_MANY = 200_000
"""Entries in a list of jobs or members."""
_FAILURES = 10_000
"""Failures that were given out of one job; one that has more ends."""
_METAS = Optional_(Bytes(MAX_CONTROL))

TO_BROKER: dict[str, dict[str, Kind]] = {
    # members
    "hello": {
        "member": Parsed(Member.from_wire),
        "node": ID,
        "pid": Int(0, 1 << 31),
        "protocol": _SIGNED,
        "version": Text(100),
        "python": Text(100),
        "stage": _NAME,
        "code": _NAME,
        "view": _NUMBER,
        "jobs": ListOf(_RANK, 1000),
    },
    "get_view": {},
    "leave": {"incarnation": ID},
    "progress": {"incarnation": ID, "counts": MapOf(ID, TupleOf((_COUNT,) * 4), _MANY)},
    "last_counts": {"incarnation": ID, "counts": MapOf(ID, TupleOf((_EPOCH, _COUNT, _COUNT)), _MANY)},
    "broken": {"incarnation": ID, "peer": ID},
    "draining": {"incarnation": ID},
    "trouble": {"incarnation": ID, "text": _LINE},
    "log": {
        "incarnation": ID,
        "source": _NAME,
        "records": ListOf(TupleOf((Choice(LEVELS), Bytes(16), _LINE)), 200),
        "dropped": _COUNT,
    },
    # members, after the broker's restart
    "held": {
        "incarnation": ID,
        "broker": ID,
        "items": ListOf(TupleOf((ID, _EPOCH, ListOf(_ROOT_RUN, _MANY), _COUNT, _COUNT)), _MANY),
    },
    "entered": {
        "incarnation": ID,
        "job": ID,
        "epoch": _EPOCH,
        "roots": ListOf(TupleOf((Int(-1), Int(-1))), _MANY),
    },
    # sinks
    "recovered": {"incarnation": ID, "jobs": ListOf(_RANK, _MANY), "damaged": ListOf(ID, _MANY)},
    "pause": {"incarnation": ID, "job": ID, "epoch": _EPOCH},
    "complete": {"incarnation": ID, "job": ID, "epoch": _EPOCH, "results": _COUNT, "failed": _COUNT},
    "kept": {
        "incarnation": ID,
        "job": ID,
        "epoch": _EPOCH,
        "failures": ListOf(TupleOf((Int(0, MAX_STAGES), _PATH, _COUNT)), _FAILURES),
    },
    "job_failed": {"incarnation": ID, "job": ID, "epoch": _EPOCH, "kind": Text(100), "error": _LINE},
    # nodes
    "renew": {"node": ID, "alive": ListOf(ID, _MANY)},
    "exited": {
        "node": ID,
        "incarnation": ID,
        "code": _SIGNED,
        "text": _LINE,
        "stage": _NAME,
        "cause": Choice(("", "between", "timeout", "cancelled", "stopped")),
        "running": ListOf(TupleOf((ID, _EPOCH, _PATH, _COUNT)), 1000),
        "ref": _REF,
    },
    "start_failed": {
        "node": ID,
        "incarnation": ID,
        "stage": _NAME,
        "error": _LINE,
        "traceback": _PAGE,
        "ref": _REF,
    },
    # clients
    "client_hello": {"ref": _REF, "client": ID, "protocol": _SIGNED, "version": Text(100)},
    "submit": {
        "ref": _REF,
        "client": ID,
        "job": ID,
        "name": _NAME,
        "pipeline": _NAME,
        "stream": Bool(),
        "options": MapOf(Text(100), Scalar(1000), 32),
        "meta": _METAS,
        "digest": Bytes(64),
    },
    "feed": {"ref": _REF, "job": ID, "seq": _COUNT, "first": _COUNT, "n": Int(1, COUNT), "metas": _METAS},
    "close_feed": {"ref": _REF, "job": ID, "chunks": _COUNT, "total": _COUNT},
    "attach": {"ref": _REF, "job": ID},
    "watch": {"ref": _REF, "jobs": ListOf(ID, _MANY)},
    "cancel": {"ref": _REF, "job": ID},
    "release": {"ref": _REF, "job": ID},
    "jobs": {"ref": _REF, "job": Optional_(Bytes(16)), "over": ListOf(ID, MAX_OVER)},
    "logs": {"ref": _REF, "after": _SIGNED, "job": Optional_(Bytes(16)), "source": _NAME},
}
"""What may be said to a broker: type of message -> its fields."""

FROM_BROKER: dict[str, dict[str, Kind]] = {
    "welcome": {"view": Parsed(View.from_wire), "broker": ID, "version": Text(100)},
    "view": {"view": Parsed(View.from_wire)},
    "stamp": {"stamp": Parsed(stamp_from_wire)},
    "forget": {"jobs": ListOf(ID, 1 << 24)},
    "confirmed": {"job": ID},
    "refused": {"reason": _LINE},
    "renewed": {},
    "held_ok": {"broker": ID},
    "recovered_ok": {},
    "ask_entered": {"job": ID, "epoch": _EPOCH},
    "ok": {"ref": _REF, "value": Any_()},
    "error": {"ref": _REF, "kind": Text(100), "message": _LINE},
    "wait": {"ref": _REF, "reason": _LINE},
}
"""What a broker may say."""

SCHEMA = {**TO_BROKER, **FROM_BROKER}
"""Type of message -> its fields and their kinds."""

_BOUNDS = Bounds(MAX_CONTROL, items=500_000, depth=8, trusted=8 << 10)
_ANSWER = Bounds(MAX_ANSWER, items=1 << 23, depth=32, trusted=1 << 20)
"""An answer has all jobs in it. A broker sends it, or a stranger that has its port."""


def pack_control(message: dict[str, Any], *frames: Buffer) -> list[Buffer]:
    """The frames of a control message: the map, then what comes with it out of band.

    Texts for people that are longer than the schema allows are cut.
    """
    for field, kind in SCHEMA.get(message["type"], {}).items():
        if kind in (_LINE, _PAGE) and len(message.get(field, "")) > kind.length:
            message = {**message, field: clip(message[field], kind.length)}
    return [msgpack.packb(message, use_bin_type=True, default=_plain), *frames]


def _plain(value: Any) -> Any:
    if isinstance(value, (Member, View)):
        return value.to_wire()
    if isinstance(value, Stamp):
        return stamp_to_wire(value)
    raise TypeError(f"{type(value).__name__} has no place in a control message")


def unpack_control(frames: Sequence[Buffer], schema: dict[str, dict[str, Kind]] = SCHEMA) -> dict[str, Any]:
    """The map of a control message, measured, then checked field by field.

    Args:
        frames: of one message.
        schema: :data:`TO_BROKER` at a broker, :data:`FROM_BROKER` at all others.

    Raises:
        DecodeError: it is no control message, or a field is missing, unknown, or beyond its bounds.
    """
    if not frames:
        raise DecodeError("a control message without frames")
    message = unpack(frames[0], _ANSWER if schema is FROM_BROKER else _BOUNDS)
    if type(message) is not dict:
        raise DecodeError("control message is no map")
    name = message.get("type")
    fields = schema.get(name) if type(name) is str else None
    if fields is None:
        raise DecodeError("control message is of no known type")
    for field in message:
        if field != "type" and field not in fields:
            raise DecodeError(f"{name}: unknown field {field[:40]!r}")
    for field, kind in fields.items():
        if field not in message:
            raise DecodeError(f"{name}: field {field!r} is missing")
        try:
            message[field] = kind.check(message[field])
        except DecodeError as error:
            raise DecodeError(f"{name}: field {field!r} {error}") from None
    return message


def ref_of(frames: Sequence[Buffer]) -> int | None:
    """The ref of a request that could not be read, if it has one: its client waits for an answer."""
    raw = bytes(memoryview(frames[0])[-LAST:]) if frames else b""
    at = raw.rfind(b"\xa3ref")  # whoever makes a request puts its ref last
    if at < 0:
        return None
    unpacker = msgpack.Unpacker(max_buffer_size=LAST)
    unpacker.feed(raw[at + 4 : at + 13])
    try:
        ref = unpacker.unpack()
    except Exception:  # it was something else
        return None
    return ref if type(ref) is int and 0 <= ref <= MAX_INT else None
