"""Pings: sent when the broker asks, and reported to it."""

from __future__ import annotations

from zturbo.core.effects import Control, Effect, Meet, Send
from zturbo.core.links.pings import report_ping, take_order
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Ping

ME, PEER = b"m" * 16, b"p" * 16


def test_an_order_is_carried_out_and_confirmed() -> None:
    effects: list[Effect] = []
    peer = Member(PEER, "worker", "p", 0, "there", ("tcp://10.0.0.1:7000",))
    take_order(ME, from_broker.PingThem(trial=3, members=(peer,)), effects)
    assert effects == [
        Meet((peer,)),
        Send(PEER, Ping(ME, PEER, 3)),
        Control(to_broker.Pinging(incarnation=ME, trial=3)),
    ]


def test_a_ping_is_reported_unless_it_is_for_the_process_that_had_the_port_before() -> None:
    effects: list[Effect] = []
    report_ping(ME, Ping(PEER, b"x" * 16, 3), effects)
    assert effects == []
    report_ping(ME, Ping(PEER, ME, 3), effects)
    assert effects == [Control(to_broker.Pinged(incarnation=ME, source=PEER, trial=3))]
