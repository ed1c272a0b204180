"""Control messages as frames: one msgpack map with a ``type``, then the contents that travel beside it.

A field that is not in the message's class, is missing, or is beyond its bounds is a
:class:`~zturbo.errors.DecodeError` that names it. Nodes, workers, sinks and clients are DEALERs to the
broker's ROUTER.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from zturbo.errors import DecodeError
from zturbo.wire.bounds import Bounds, unpack
from zturbo.wire.codec import stamp_to_wire
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import MAX_INT, Buffer, Stamp

__all__ = ["MAX_ANSWER", "MAX_CONTROL", "pack_control", "read_answer", "read_request", "ref_of"]

MAX_CONTROL = to_broker.MAX_CONTROL

LAST = 64
"""Bytes at the end of a message in which its ref is."""

_REQUEST = Bounds(MAX_CONTROL, items=500_000, depth=8, trusted=8 << 10)
MAX_ANSWER = 1 << 28
"""Bytes of a broker's message."""

_ANSWER = Bounds(MAX_ANSWER, items=1 << 23, depth=32, trusted=1 << 20)
"""An answer has all jobs in it. A broker sends it, or a stranger that has its port."""


def pack_control(message: Message) -> list[Buffer]:
    """The frames of a control message: the map, then what travels beside it.

    Texts for people that are longer than their fields allow are cut.
    """
    fields = {"type": message.type_name, **message.to_wire()}
    return [msgpack.packb(fields, use_bin_type=True, default=_plain), *message.frames]


def _plain(value: Any) -> Any:
    if isinstance(value, (Message, Member, View)):
        return value.to_wire()
    if isinstance(value, Stamp):
        return stamp_to_wire(value)
    raise TypeError(f"{type(value).__name__} has no place in a control message")


def read_request(frames: Sequence[Buffer]) -> Message:
    """What came to a broker; raises DecodeError."""
    return _read(frames, _REQUEST, to_broker.MESSAGES)


def read_answer(frames: Sequence[Buffer]) -> Message:
    """What came from a broker; raises DecodeError."""
    return _read(frames, _ANSWER, from_broker.MESSAGES)


def _read(frames: Sequence[Buffer], bounds: Bounds, messages: dict[str, type[Message]]) -> Message:
    """The message, measured, then checked field by field."""
    if not frames:
        raise DecodeError("a control message without frames")
    fields = unpack(frames[0], bounds)
    if type(fields) is not dict:
        raise DecodeError("control message is no map")
    name = fields.pop("type", None)
    cls = messages.get(name) if type(name) is str else None
    if cls is None:
        raise DecodeError("control message is of no known type")
    return cls.from_wire(fields, frames[1:])


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
