"""A member lives as long as its lease."""

from __future__ import annotations

from tests.unit.broker.driven import (
    ME,
    WORKER,
    broker,
    hello,
    renew,
    worker,
)
from zturbo.core.effects import Control
from zturbo.wire.control import from_broker
from zturbo.wire.messages import Statement
from zturbo_broker.machine.machine import BrokerMachine


def asked(machine: BrokerMachine, now: float) -> list[bytes]:
    """Who is asked for a hello when so much time has passed."""
    machine.effects.clear()
    machine.tick(now)
    said = [effect for effect in machine.effects if isinstance(effect, Control)]
    return [effect.to for effect in said if isinstance(effect.message, from_broker.SayHello)]


def test_a_member_whose_lease_runs_out_is_out_and_stays_out() -> None:
    machine = broker(lease=5.0)
    assert isinstance(hello(machine, worker())[0], from_broker.Welcome)
    renew(machine, (WORKER,), 3.0)
    machine.tick(7.9)
    assert machine.membership.members() == [worker()]
    machine.tick(8.1)
    assert not machine.membership.members()
    assert isinstance(hello(machine, worker(), view=2)[0], from_broker.Refused)


def test_time_without_a_broker_is_on_no_lease() -> None:
    machine = broker(lease=5.0)
    hello(machine, worker())
    machine.stood_still(95.0)
    machine.tick(99.0)
    assert WORKER in machine.membership
    machine.tick(100.1)
    assert WORKER not in machine.membership


def test_a_broker_that_stands_still_again_and_again_finds_out_who_is_dead() -> None:
    machine = broker(lease=5.0)
    hello(machine, worker())
    for _ in range(20):
        machine.stood_still(1.0)
    machine.tick(9.9)
    assert WORKER in machine.membership
    renew(machine, (WORKER,), 9.9)
    for _ in range(20):
        machine.stood_still(1.0)
    machine.tick(19.8)
    assert WORKER in machine.membership
    machine.tick(20.0)
    assert WORKER not in machine.membership


def test_a_member_whose_node_stands_still_is_asked_for_a_hello_once_in_half_a_lease() -> None:
    machine = broker(lease=5.0)
    hello(machine, worker())
    machine.data(Statement(WORKER, ME, 0, 0, [], 1, 1, 0), 0.0)  # it answers the broker's greeting
    renew(machine, (WORKER,), 3.0)
    assert not asked(machine, 5.4)
    assert machine.membership.deadline() == 5.5
    assert asked(machine, 5.5) == [WORKER]
    assert not asked(machine, 5.6)
    assert machine.membership.deadline() == 8.0
    hello(machine, worker(), view=2, now=7.0)
    assert not asked(machine, 9.4) and asked(machine, 9.5) == [WORKER]
    renew(machine, (WORKER,), 9.6)
    assert not asked(machine, 12.0) and asked(machine, 12.1) == [WORKER]
    assert WORKER in machine.membership
