"""Pings: what a process does when the broker asks whether it and others reach each other.

The broker asks a process to ping some others. A ping goes the way that all messages to a peer go, so it
arrives if and only if they do. The process that gets it tells the broker.
"""

from __future__ import annotations

from zturbo.core.effects import Control, Effect, Meet, Send
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Ping

__all__ = ["report_ping", "send_pings", "take_order"]


def send_pings(me: bytes, trial: int, members: tuple[Member, ...], effects: list[Effect]) -> None:
    """Ping these processes, which may be in no view yet."""
    effects.append(Meet(members))
    effects.extend(Send(member.incarnation, Ping(me, member.incarnation, trial)) for member in members)


def take_order(me: bytes, order: from_broker.PingThem, effects: list[Effect]) -> None:
    """The broker asks for pings: send them, and say so. That tells the broker that this process is awake."""
    send_pings(me, order.trial, order.members, effects)
    effects.append(Control(to_broker.Pinging(incarnation=me, trial=order.trial)))


def report_ping(me: bytes, ping: Ping, effects: list[Effect]) -> None:
    """A ping has come: tell the broker."""
    if ping.target == me:
        pinged = to_broker.Pinged(incarnation=me, source=ping.source, trial=ping.trial)
        effects.append(Control(pinged))
