"""A large view goes out once for all changes that are sent together."""

from __future__ import annotations

from tests.unit.broker.driven import broker, hello, worker
from zturbo.core.effects import Control, Record
from zturbo.slotted import replace
from zturbo.wire.control import from_broker
from zturbo_broker.machine.machine import BrokerMachine
from zturbo_broker.members.views import LONGEST


def large() -> BrokerMachine:
    machine = broker(lease=100.0)
    machine.life.views.whole = 2
    return machine


def join(machine: BrokerMachine, number: int, now: float, view: int = 0) -> bytes:
    member = replace(worker(), incarnation=number.to_bytes(16, "big"))
    before = list(machine.effects)
    machine.effects.clear()
    hello(machine, member, now=now, view=view)
    machine.effects[:0] = before
    return member.incarnation


def told(machine: BrokerMachine) -> tuple[list[Record], dict[bytes, list[object]]]:
    """The records of members, and the views that each member was sent."""
    records = [e for e in machine.effects if isinstance(e, Record) and e.op == "set_members"]
    views = (from_broker.Welcome, from_broker.NewView, from_broker.ViewChanges)
    sent: dict[bytes, list[object]] = {}
    for effect in machine.effects:
        if isinstance(effect, Control) and isinstance(effect.message, views):
            sent.setdefault(effect.to, []).append(effect.message)
    machine.effects.clear()
    return records, sent


def test_newcomers_to_a_large_view_get_one_message_together_after_the_ledger() -> None:
    machine = large()
    old = [join(machine, number, 0.0) for number in range(1, 4)]
    machine.tick(LONGEST)
    told(machine)
    join(machine, 9, LONGEST)
    told(machine)  # that was due at once
    new = [join(machine, number, LONGEST) for number in range(4, 8)]
    join(machine, 4, LONGEST)  # it says hello again, since it was not told yet
    assert told(machine) == ([], {}), "not yet"
    at = machine.life.views.deadline()
    assert at is not None and LONGEST < at <= 2 * LONGEST
    machine.tick(at)
    effects = list(machine.effects)
    records, sent = told(machine)
    assert [len(record.args[1]) for record in records] == [8]
    assert effects.index(records[0]) < min(n for n, e in enumerate(effects) if isinstance(e, Control))
    assert all(isinstance(sent[one][0], from_broker.ViewChanges) for one in old)
    welcomes = [message for one in new for message in sent[one]]
    first = welcomes[0]
    assert len(welcomes) == 4 and isinstance(first, from_broker.Welcome)
    assert all(welcome is first for welcome in welcomes), "so it is packed once"
    assert len(first.view.members) == 9


def test_a_member_that_has_missed_a_change_gets_the_whole_alone() -> None:
    machine = large()
    members = [join(machine, number, 0.0) for number in range(1, 5)]
    machine.tick(LONGEST)
    told(machine)
    join(machine, 1, 10.0, view=1)
    machine.tick(10.0 + LONGEST)
    records, sent = told(machine)
    assert not records and {*sent} == {members[0]}
    assert isinstance(sent[members[0]][0], from_broker.Welcome)
