"""Facts that all parts of a broker share, and the three ways in which it answers."""

from __future__ import annotations

import pytest

from tests.unit.broker.driven import ME, SINK, WORKER, broker, hello, sink, worker
from zturbo.core.effects import Confirm, Effect, Record, Reply
from zturbo.wire.control import from_broker
from zturbo.wire.control.view import Member
from zturbo_broker.machine.known import Answers

CLIENT = b"c" * 16


def test_what_depends_on_the_ledger_waits_for_it_and_the_rest_does_not() -> None:
    effects: list[Effect] = []
    say = Answers(effects)
    say.ok(CLIENT, 7, None)
    say.error(CLIENT, 8, "UsageError", "no")
    say.now(CLIENT, 9, None)
    assert effects == [
        Confirm(CLIENT, from_broker.Ok(ref=7, value=None)),
        Confirm(CLIENT, from_broker.Error(ref=8, kind="UsageError", message="no")),
        Reply(CLIENT, from_broker.Ok(ref=9, value=None)),
    ]


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (worker(), "p.a"),
        (worker(stage=1), "worker"),
        (worker(stage=-1), "worker"),
        (Member(WORKER, "worker", "q", 0, "h", ("x",)), "worker"),
        (sink(), "sink"),
    ],
    ids=["a stage", "beyond the last", "below the first", "another pipeline", "a sink"],
)
def test_a_member_is_called_by_its_stage_if_there_is_one(member: Member, name: str) -> None:
    assert broker().known.name_of(member) == name


def test_the_ledger_gets_the_view_that_members_have() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    machine.effects.clear()
    machine.known.members_changed()
    (record,) = machine.effects
    assert isinstance(record, Record) and record.op == "set_members"
    number, members = record.args
    assert number == machine.membership.number
    assert [member.incarnation for member in members] == [WORKER, SINK], "and not the broker itself"
    assert machine.known.me == ME


def test_two_pipelines_do_not_share_their_jobs() -> None:
    one, other = broker().pipelines["p"], broker().pipelines["p"]
    one.waiting[b"j" * 16] = None
    assert not other.waiting and one.queue is not other.queue
