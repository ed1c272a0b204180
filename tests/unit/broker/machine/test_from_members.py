"""What members and nodes say to a broker."""

from __future__ import annotations

from tests.unit.broker.driven import (
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
from zturbo.wire.control import from_broker


def test_members_that_do_not_fit_are_told_why() -> None:
    machine = broker()
    for changes, said in (
        ({"protocol": 99}, "protocol 99, this broker 1"),
        ({"version": "2"}, "zturbo 2, this broker 1"),
        ({"stage_name": "b"}, "stage 0 of p is 'a' here, not 'b'"),
        ({"member": worker(stage=7)}, "no stage p.a"),
        ({"view": 3}, "taken out of the view"),
    ):
        (answer,) = hello(machine, worker(), **changes)
        assert isinstance(answer, from_broker.Refused) and said in answer.reason
    assert not machine.membership.members()


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
