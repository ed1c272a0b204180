"""The vocabulary of the control plane: maps between the broker and everybody else.

Each message is one msgpack map with a ``type``; :data:`SCHEMA` lists its fields. A field that is
not listed, is missing, or has another type is a :class:`~zturbo.errors.DecodeError` that names it.
Nodes, workers, sinks and clients are DEALERs to the broker's ROUTER; a ``ref`` in a message comes
back in the broker's ``ok`` or ``error``, and whoever sent it repeats it until one of them comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from zturbo.errors import DecodeError
from zturbo.wire.codec import stamp_from_wire, stamp_to_wire
from zturbo.wire.messages import Buffer, Stamp

__all__ = ["SCHEMA", "Member", "View", "pack_control", "unpack_control"]


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
        if type(value) is not tuple or len(value) != 11:
            raise DecodeError("member is malformed")
        kinds: tuple[type, ...] = (bytes, str, str, int, str, tuple, tuple, int, bool, bool, bytes)
        if any(type(part) is not kind for part, kind in zip(value, kinds, strict=True)):
            raise DecodeError("member is malformed")
        if len(value[0]) != 16 or value[1] not in ("broker", "worker", "sink"):
            raise DecodeError("member is malformed")
        if any(type(endpoint) is not str for endpoint in (*value[5], *value[6])):
            raise DecodeError("member is malformed")
        return cls(*value)


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
        if type(value) is not tuple or len(value) != 2 or type(value[0]) is not int:
            raise DecodeError("view is malformed")
        if type(value[1]) is not tuple:
            raise DecodeError("view is malformed")
        members = [Member.from_wire(part) for part in value[1]]
        return cls(value[0], {member.incarnation: member for member in members})


_ID = "id"
_STR = str
_INT = int
_BYTES = bytes
_BOOL = bool
_MAP = dict
_LIST: type = tuple
_VIEW = View
_STAMP = "stamp"

SCHEMA: dict[str, dict[str, Any]] = {
    # any DEALER -> broker
    "hello": {
        "member": Member,
        "node": _ID,
        "pid": _INT,
        "protocol": _INT,
        "version": _STR,
        "python": _STR,
        "stage": _STR,
        "code": _STR,
        "view": _INT,
        "jobs": _LIST,
    },
    "get_view": {},
    "leave": {"incarnation": _ID},
    "progress": {"incarnation": _ID, "counts": _MAP},
    "broken": {"incarnation": _ID, "peer": _ID},
    "draining": {"incarnation": _ID},
    "trouble": {"incarnation": _ID, "text": _STR},
    "log": {"incarnation": _ID, "source": _STR, "records": _LIST, "dropped": _INT},
    # member -> broker, after the broker's restart
    "held": {"incarnation": _ID, "broker": _ID, "items": _LIST},
    "entered": {"incarnation": _ID, "job": _ID, "epoch": _INT, "roots": _LIST},
    # sink -> broker
    "recovered": {"incarnation": _ID, "jobs": _LIST, "damaged": _LIST},
    "pause": {"incarnation": _ID, "job": _ID, "epoch": _INT},
    "complete": {"incarnation": _ID, "job": _ID, "epoch": _INT, "results": _INT, "failed": _INT},
    "kept": {"incarnation": _ID, "job": _ID, "epoch": _INT, "failures": _LIST},
    "job_failed": {"incarnation": _ID, "job": _ID, "epoch": _INT, "kind": _STR, "error": _STR},
    # node -> broker
    "renew": {"node": _ID, "alive": _LIST},
    "exited": {
        "node": _ID,
        "incarnation": _ID,
        "code": _INT,
        "text": _STR,
        "stage": _STR,
        "cause": _STR,
        "running": _LIST,
        "ref": _INT,
    },
    "start_failed": {
        "node": _ID,
        "incarnation": _ID,
        "stage": _STR,
        "error": _STR,
        "traceback": _STR,
        "ref": _INT,
    },
    # client -> broker
    "client_hello": {"ref": _INT, "client": _ID, "protocol": _INT, "version": _STR},
    "submit": {
        "ref": _INT,
        "client": _ID,
        "job": _ID,
        "name": _STR,
        "pipeline": _STR,
        "stream": _BOOL,
        "options": _MAP,
        "meta": (bytes, type(None)),
        "digest": _BYTES,
    },
    "feed": {"ref": _INT, "job": _ID, "seq": _INT, "first": _INT, "n": _INT, "metas": (bytes, type(None))},
    "close_feed": {"ref": _INT, "job": _ID, "chunks": _INT, "total": _INT},
    "attach": {"ref": _INT, "job": _ID},
    "watch": {"ref": _INT, "jobs": _LIST},
    "cancel": {"ref": _INT, "job": _ID},
    "release": {"ref": _INT, "job": _ID},
    "jobs": {"ref": _INT, "job": (bytes, type(None))},
    "logs": {"ref": _INT, "after": _INT, "job": (bytes, type(None)), "source": _STR},
    # broker -> all
    "welcome": {"view": _VIEW, "broker": _ID, "version": _STR},
    "view": {"view": _VIEW},
    "stamp": {"stamp": _STAMP},
    "forget": {"jobs": _LIST},
    "confirmed": {"job": _ID},
    "refused": {"reason": _STR},
    "renewed": {},
    "held_ok": {"broker": _ID},
    "recovered_ok": {},
    "ask_entered": {"job": _ID, "epoch": _INT},
    "ok": {"ref": _INT, "value": object},
    "error": {"ref": _INT, "kind": _STR, "message": _STR},
    "wait": {"ref": _INT, "reason": _STR},
}
"""Type of message -> its fields and their types."""


def pack_control(message: dict[str, Any], *frames: Buffer) -> list[Buffer]:
    """The frames of a control message: the map, then what comes with it out of band."""
    return [msgpack.packb(message, use_bin_type=True, default=_plain), *frames]


def _plain(value: Any) -> Any:
    if isinstance(value, (Member, View)):
        return value.to_wire()
    if isinstance(value, Stamp):
        return stamp_to_wire(value)
    raise TypeError(f"{type(value).__name__} has no place in a control message")


def unpack_control(frames: Sequence[Buffer]) -> dict[str, Any]:
    """The map of a control message, checked field by field.

    Raises:
        DecodeError: it is no control message, or a field is missing, unknown, or of another type.
    """
    if not frames:
        raise DecodeError("a control message without frames")
    try:
        message = msgpack.unpackb(frames[0], use_list=False, raw=False, strict_map_key=False)
    except Exception as error:  # msgpack raises a dozen kinds, some of them bare ValueErrors
        raise DecodeError(f"control message is no msgpack: {type(error).__name__}") from None
    if type(message) is not dict:
        raise DecodeError("control message is no map")
    kind = message.get("type")
    schema = SCHEMA.get(kind) if type(kind) is str else None
    if schema is None:
        raise DecodeError("control message is of no known type")
    for field in message:
        if field != "type" and field not in schema:
            raise DecodeError(f"{kind}: unknown field {str(field)[:40]!r}")
    for field, expected in schema.items():
        if field not in message:
            raise DecodeError(f"{kind}: field {field!r} is missing")
        value = message[field]
        if expected == _ID:
            if type(value) is not bytes or len(value) != 16:
                raise DecodeError(f"{kind}: field {field!r} is no id of 16 bytes")
        elif expected == _STAMP:
            message[field] = stamp_from_wire(value)
        elif expected in (Member, View):
            message[field] = expected.from_wire(value)
        elif expected is not object:
            allowed = expected if isinstance(expected, tuple) else (expected,)
            if type(value) not in allowed:
                raise DecodeError(f"{kind}: field {field!r} is of type {type(value).__name__}")
            if type(value) is int and value >= 1 << 63:
                raise DecodeError(f"{kind}: field {field!r} is too large")
    return message
