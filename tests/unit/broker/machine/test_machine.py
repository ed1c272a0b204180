"""Each message has one handler; what makes no sense changes nothing; what is due is done in time."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tests.unit.broker.driven import (
    CLIENT,
    SINK,
    WORKER,
    answers,
    broker,
    credit,
    feed,
    hello,
    renew,
    sink,
    submit,
    worker,
)
from zturbo.core.effects import Load, LogLine, Reply
from zturbo.errors import DecodeError
from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.messages import Batch, Greet
from zturbo.wire.payload import pack_many

JOB = b"j" * 16

BY_THE_SERVER = {to_broker.Log, to_broker.Logs, to_broker.Look, to_broker.Seen}
"""Messages that the server handles itself: the machine has no log, and hands on no questions."""


def running(**options: Any) -> Any:
    """A broker with a job that runs."""
    machine = broker(**options)
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, JOB)
    return machine


def test_each_message_to_a_broker_has_a_handler() -> None:
    classes = {cls for _, cls in inspect.getmembers(to_broker, inspect.isclass)}
    said = {cls for cls in classes if issubclass(cls, Message) and cls.__module__ == to_broker.__name__}
    assert said - BY_THE_SERVER == broker().handlers.keys()


def test_who_speaks_in_anothers_name_is_not_heard() -> None:
    machine = running()
    before = len(machine.effects), machine.membership.number
    for message in (
        to_broker.Leave(incarnation=WORKER),
        to_broker.JobFailed(incarnation=SINK, job=JOB, epoch=1, kind="JobFailed", error="x"),
        to_broker.Renew(node=b"n" * 16, alive=(WORKER,)),
    ):
        with pytest.raises(DecodeError, match="another's name"):
            machine.control(b"e" * 16, message, 1.0)
    assert (len(machine.effects), machine.membership.number) == before
    assert machine.jobs[JOB].state == "running"


def test_a_chunk_that_cannot_be_read_ends_its_job_and_no_other() -> None:
    machine = running()
    submit(machine, b"o" * 16)
    machine.unreadable(JOB, 3, "chunk 3 is damaged", 1.0)
    job = machine.jobs[JOB]
    assert (job.state, job.error_kind, job.error) == ("failed", "JobFailed", "chunk 3 is damaged")
    assert machine.jobs[b"o" * 16].state == "running"
    machine.unreadable(JOB, 3, "again", 2.0)
    machine.unreadable(b"x" * 16, 3, "of nobody", 2.0)
    assert job.error == "chunk 3 is damaged", "it has ended already"


def test_a_chunk_that_was_read_in_vain_is_no_matter() -> None:
    machine = running()
    roots = Batch(JOB, 0, 0, [((0,), 3)], 3, pack_many([1, 2, 3]))
    machine.loaded(JOB, 7, roots, 1.0)
    machine.loaded(b"x" * 16, 0, roots, 1.0)
    machine.check()
    assert not machine.jobs[JOB].cache and not [e for e in machine.effects if isinstance(e, Load)]


def test_what_is_no_statement_is_dropped_from_a_first_stage() -> None:
    machine = running()
    feed(machine, JOB, 0, 3)
    machine.data(Greet(WORKER, machine.me, 1), 0.0)
    machine.check()
    assert machine.senders.pending_tasks + machine.jobs[JOB].backlog == 3
    credit(machine, 10)
    assert machine.senders.retained_tasks == 3, "the link goes on"


def test_members_that_nobody_renews_are_taken_out_and_others_are_not() -> None:
    machine = running(lease=5.0)
    renew(machine, (SINK,), 4.0)
    due = machine.deadline()
    assert due is not None and due <= 5.0
    machine.tick(5.1)
    assert (WORKER in machine.membership, SINK in machine.membership) == (False, True)


def test_while_the_broker_stood_still_no_lease_ran() -> None:
    machine = running(lease=5.0)
    machine.stood_still(60.0)
    machine.tick(64.0)
    assert WORKER in machine.membership
    machine.tick(65.1)
    assert WORKER not in machine.membership


def test_a_question_is_answered_with_its_number() -> None:
    machine = running()
    machine.effects.clear()
    machine.control(CLIENT, to_broker.Jobs(ref=41, job=JOB, over=()), 1.0)
    (answer,) = answers(machine)
    assert isinstance(answer, from_broker.Ok) and answer.ref == 41


def test_members_that_only_an_earlier_broker_has_met_are_no_workers_yet() -> None:
    machine = broker()
    machine.restore([worker()], [], 0.0)

    def count() -> list[int]:
        machine.effects.clear()
        machine.control(CLIENT, to_broker.Jobs(ref=1, job=None, over=()), 0.0)
        (answer,) = [effect.message for effect in machine.effects if isinstance(effect, Reply)]
        assert isinstance(answer, from_broker.Ok)
        return list(answer.value.pipelines[0].workers)

    def listed() -> list[str]:
        machine.effects.clear()
        machine.control(CLIENT, to_broker.Members(ref=2), 0.0)
        (answer,) = [effect.message for effect in machine.effects if isinstance(effect, Reply)]
        assert isinstance(answer, from_broker.Ok)
        return [process.name for process in answer.value.processes]

    assert count() == [0] and listed() == ["broker"]
    hello(machine, worker(), view=1)
    assert count() == [1] and listed() == ["broker", "p.a"]


def test_a_member_of_another_version_is_refused_for_good() -> None:
    machine = broker()
    (said,) = hello(machine, worker(), version="2")
    assert isinstance(said, from_broker.Refused) and said.final and "install one on all hosts" in said.reason
    lines = [effect for effect in machine.effects if isinstance(effect, LogLine)]
    assert len(lines) == 1 and "install one" in lines[0].text
    hello(machine, worker(), version="2")
    assert not [effect for effect in machine.effects if isinstance(effect, LogLine)], "it is told once"
    (said,) = hello(machine, replace(worker(), stage=7), version="2")
    assert isinstance(said, from_broker.Refused) and said.final
    (said,) = hello(machine, replace(worker(), stage=7))
    assert isinstance(said, from_broker.Refused) and not said.final, "another network file may have it"
