"""What members and nodes say to a broker."""

from __future__ import annotations

from tests.unit.broker.driven import (
    SINK,
    WORKER,
    broker,
    cancel,
    hello,
    renew,
    sink,
    submit,
    worker,
)
from zturbo.core.effects import Control
from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL
from zturbo_broker.members.rights import User


def test_members_that_do_not_fit_are_told_why() -> None:
    machine = broker()
    for changes, said in (
        ({"protocol": 99}, f"protocol 99, this broker {PROTOCOL}"),
        ({"version": "2"}, "zturbo 2, this broker 1"),
        ({"stage_name": "b"}, "stage 0 of p is 'a' here, not 'b'"),
        ({"member": worker(stage=7)}, "no stage p.a"),
        ({"view": 3}, "taken out of the view"),
    ):
        (answer,) = hello(machine, worker(), **changes)
        assert isinstance(answer, from_broker.Refused) and said in answer.reason
    assert not machine.membership.members()


def test_a_spool_belongs_to_the_key_that_it_came_under() -> None:
    """Ids of spools are in the view: another node must not send a sink away by naming its spool."""
    mine, theirs = User("node", "a", "1" * 40), User("node", "b", "2" * 40)
    machine = broker()
    first, other = (
        Member(name * 16, "sink", "", -1, "h", ("ipc://s",), ("tcp://1.2.3.4:5",), spool=b"spool")
        for name in (b"1", b"2")
    )
    assert not isinstance(hello(machine, first, user=mine)[0], from_broker.Refused)
    assert machine.membership.members()[0].key == mine.key
    (answer,) = hello(machine, other, user=theirs)
    assert isinstance(answer, from_broker.Refused) and "under another node's key" in answer.reason
    assert first.incarnation in machine.membership
    hello(machine, other, user=mine)
    assert [member.incarnation for member in machine.membership.members()] == [other.incarnation]


def test_a_key_is_what_its_connection_has_shown() -> None:
    machine = broker()
    hello(machine, replace(worker(), key="x" * 40))
    assert machine.membership.members()[0].key == ""
    machine = broker()
    hello(machine, replace(worker(), key="x" * 40), user=User("node", "a", "1" * 40))
    assert machine.membership.members()[0].key == "1" * 40


def test_who_runs_under_a_revoked_key_is_out_at_once() -> None:
    machine = broker()
    hello(machine, worker(), user=User("node", "a", "1" * 40))
    hello(machine, sink(), user=User("node", "b", "2" * 40))
    machine.effects.clear()
    machine.revoked({"1" * 40}, 1.0)
    assert [member.incarnation for member in machine.membership.members()] == [sink().incarnation]
    told = [effect.message for effect in machine.effects if isinstance(effect, Control)]
    assert from_broker.Refused(reason="the key of its node was revoked", final=True) in told


def test_nodes_are_told_again_of_a_job_that_was_cancelled() -> None:
    """The first word may get lost, and a task that hangs would hang on."""
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job, node = b"j" * 16, b"n" * 16
    submit(machine, job)
    cancel(machine, job, 1.0)
    machine.effects.clear()
    for now, told in ((2.0, [(job,)]), (20.0, [])):
        renew(machine, (WORKER,), now)
        said = [effect for effect in machine.effects if isinstance(effect, Control) and effect.to == node]
        forgets = [effect.message for effect in said if isinstance(effect.message, from_broker.Forget)]
        assert [message.jobs for message in forgets] == told
        machine.effects.clear()


def test_a_sink_is_told_again_of_a_job_that_did_not_get_done() -> None:
    """The first word may get lost. The sink would keep its results, and report it each second."""
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job = b"j" * 16
    submit(machine, job)
    cancel(machine, job, 1.0)
    for member in (WORKER, SINK):  # they have said all that they had to say of it
        machine.control(member, to_broker.LastCounts(incarnation=member, counts={job: (1, 0, 0)}), 2.0)
    hello(machine, sink(), jobs=((job, 1, 1),))
    said = [effect.message for effect in machine.effects if isinstance(effect, Control)]
    assert [message.jobs for message in said if isinstance(message, from_broker.Forget)] == [(job,)]
