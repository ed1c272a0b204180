"""What members say of jobs changes only the jobs that it is about, and only from those who may say it."""

from __future__ import annotations

import pytest

from tests.unit.broker.driven import CLIENT, SINK, WORKER, broker, hello, sink, submit, worker
from zturbo.core.effects import Control
from zturbo.jobstates import JobState
from zturbo.wire.control import from_broker, to_broker
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.joblists import SAY_AFTER
from zturbo_broker.machine.machine import BrokerMachine

JOB = b"j" * 16


def running() -> tuple[BrokerMachine, Job]:
    """A broker with a job that runs."""
    machine = broker(lease=1000.0)
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, JOB)
    job = machine.jobs[JOB]
    assert job.state is JobState.RUNNING
    return machine, job


def confirmed(machine: BrokerMachine, message: to_broker.Complete) -> list[tuple[bytes, ...]]:
    """The jobs whose ends the broker confirms."""
    machine.effects.clear()
    machine.control(message.incarnation, message, 1.0)
    machine.tick(1.0 + SAY_AFTER)
    said = [e.message for e in machine.effects if isinstance(e, Control)]
    return [one.jobs for one in said if isinstance(one, from_broker.Confirmed)]


def test_a_complete_job_is_done_and_confirmed_as_often_as_that_is_said() -> None:
    machine, job = running()
    message = to_broker.Complete(incarnation=SINK, jobs=((JOB, 1, 2, 1),))
    assert confirmed(machine, message) == [(JOB,)]
    assert (job.state, job.results, job.failed) == (JobState.DONE, 2, 1)
    assert confirmed(machine, message) == [(JOB,)], "the first answer may have got lost"


@pytest.mark.parametrize(
    "who, epoch", [(SINK, 2), (WORKER, 1), (CLIENT, 1)], ids=["epoch", "worker", "client"]
)
def test_only_its_sink_says_that_a_job_is_complete(who: bytes, epoch: int) -> None:
    machine, job = running()
    assert not confirmed(machine, to_broker.Complete(incarnation=who, jobs=((JOB, epoch, 2, 0),)))
    assert job.state is JobState.RUNNING


def test_a_job_that_cannot_go_on_fails_with_the_reason() -> None:
    machine, job = running()
    for epoch in (2, 1):
        assert job.state is JobState.RUNNING
        message = to_broker.JobFailed(incarnation=SINK, job=JOB, epoch=epoch, kind="JobFailed", error="why")
        machine.control(SINK, message, 1.0)
    assert (job.state, job.error_kind, job.error) == (JobState.FAILED, "JobFailed", "why")


def test_a_pause_ends_by_itself() -> None:
    machine, job = running()
    machine.control(SINK, to_broker.Pause(incarnation=SINK, job=JOB, epoch=2), 1.0)
    assert not job.paused_until
    machine.control(SINK, to_broker.Pause(incarnation=SINK, job=JOB, epoch=1), 1.0)
    assert 1.0 < job.paused_until < 10.0


def test_counts_of_strangers_are_dropped() -> None:
    machine, _ = running()
    for who in (WORKER, b"x" * 16):
        machine.control(who, to_broker.Progress(incarnation=who, counts={JOB: (3, 1, 0, 0)}), 1.0)
    assert machine.known.counts.of(WORKER, JOB) == (3, 1, 0, 0)
    assert machine.known.counts.of(b"x" * 16, JOB) == (0, 0, 0, 0)
