"""Control messages as frames: one msgpack map with a ``type``, then the contents that travel beside it.

A field that is unknown, missing or beyond its bounds raises a :class:`~zturbo.errors.DecodeError`, which
names the field. Nodes, workers, sinks and clients are DEALERs to the broker's ROUTER.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from zturbo.errors import DecodeError
from zturbo.wire.bounds import Bounds, unpack
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member, View, ViewChange
from zturbo.wire.messages import MAX_INT, Buffer, Stamp
from zturbo.wire.stamps import stamp_to_wire

__all__ = ["MAX_ANSWER", "MAX_CONTROL", "pack_control", "read_answer", "read_request", "ref_of"]

MAX_CONTROL = to_broker.MAX_CONTROL

LAST = 64
"""Number of bytes at the end of a message that contain its ref."""

_REQUEST = Bounds(MAX_CONTROL, items=500_000, depth=8, trusted=8 << 10)
MAX_ANSWER = 1 << 28
"""Most bytes of a broker's message."""

_ANSWER = Bounds(MAX_ANSWER, items=1 << 23, depth=32, trusted=1 << 20)
"""Bounds of an answer, which may describe all jobs. A stranger with the broker's port may send it, too."""


def pack_control(message: Message) -> list[Buffer]:
    """The frames of a control message: the map, then the contents that travel beside it.

    Texts for people are cut to the length that their fields allow.
    """
    fields = {"type": message.type_name, **message.to_wire()}
    return [msgpack.packb(fields, use_bin_type=True, default=_plain), *message.frames]


def _plain(value: Any) -> Any:
    if isinstance(value, (Message, Member, View, ViewChange)):
        return value.to_wire()
    if isinstance(value, Stamp):
        return stamp_to_wire(value)
    raise TypeError(f"{type(value).__name__} has no place in a control message")


def read_request(frames: Sequence[Buffer]) -> Message:
    """The message in frames that came to a broker; raises DecodeError."""
    return _read(frames, _REQUEST, to_broker.MESSAGES)


def read_answer(frames: Sequence[Buffer]) -> Message:
    """The message in frames that came from a broker; raises DecodeError."""
    return _read(frames, _ANSWER, from_broker.MESSAGES)


def _read(frames: Sequence[Buffer], bounds: Bounds, messages: dict[str, type[Message]]) -> Message:
    """Measure the first frame, then unpack it and check it field by field."""
    if not frames:
        raise DecodeError("a control message without frames")
    fields = unpack(frames[0], bounds)
    if type(fields) is not dict:
        raise DecodeError("control message is not a map")
    name = fields.pop("type", None)
    cls = messages.get(name) if type(name) is str else None
    if cls is None:
        raise DecodeError("control message is of no known type")
    return cls.from_wire(fields, frames[1:])


def ref_of(frames: Sequence[Buffer]) -> int | None:
    """The ref of a request that could not be read, if it has one, because its client waits for an answer."""
    raw = bytes(memoryview(frames[0])[-LAST:]) if frames else b""
    at = raw.rfind(b"\xa3ref")  # pack_control puts the ref last
    if at < 0:
        return None
    unpacker = msgpack.Unpacker(max_buffer_size=LAST)
    unpacker.feed(raw[at + 4 : at + 13])
    try:
        ref = unpacker.unpack()
    except Exception:  # these bytes were not a ref
        return None
    return ref if type(ref) is int and 0 <= ref <= MAX_INT else None
