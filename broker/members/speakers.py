"""In whose name a message speaks. A message that speaks in another's name is refused.

A connection's identity is a member's incarnation, or a node's id. Without keys a stranger may take any
identity: this check stops mistakes, and no attacker.
"""

from __future__ import annotations

from zturbo.errors import DecodeError
from zturbo.wire.control import to_broker
from zturbo.wire.control.message import Message

__all__ = ["check_speaker", "speaker_of"]

OF_NODES = (to_broker.Renew, to_broker.Exited, to_broker.StartFailed, to_broker.Seen)


def speaker_of(message: Message) -> bytes | None:
    """The member or the node in whose name a message speaks; None for a client's message."""
    if isinstance(message, OF_NODES):
        return message.node
    if isinstance(message, to_broker.Hello):
        return message.member.incarnation
    name: bytes | None = getattr(message, "incarnation", None)
    return name


def check_speaker(who: bytes, message: Message) -> None:
    """Raise DecodeError if a message speaks in the name of another than this connection's identity."""
    name = speaker_of(message)
    if name is not None and name != who:
        raise DecodeError(f"{message.type_name} speaks in another's name")
