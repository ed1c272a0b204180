"""A member lives as long as its lease."""

from __future__ import annotations

from tests.unit.broker.driven import (
    WORKER,
    broker,
    hello,
    renew,
    worker,
)
from zturbo.wire.control import from_broker


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
