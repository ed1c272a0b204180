"""Jobs that have ended stay in the list; their results stay as long as they may be needed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.driven import CLIENT, SINK, broker, hello, sink, submit, worker
from zturbo.core.effects import Confirm, Control, Reply
from zturbo.wire.control import from_broker, to_broker
from zturbo_broker.jobs.job import Job
from zturbo_broker.ledger.rows import job_of, row_of
from zturbo_broker.machine.machine import BrokerMachine

JOB = b"j" * 16


def done(failed: int = 0, *, large: bool = False) -> tuple[BrokerMachine, Job]:
    """A broker with a job that has ended, with a result and so many failed tasks."""
    machine = broker(lease=1000.0)
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, JOB)
    complete(machine, failed, large=large)
    return machine, machine.jobs[JOB]


def complete(machine: BrokerMachine, failed: int = 0, *, large: bool = False) -> None:
    message = to_broker.Complete(incarnation=SINK, jobs=((JOB, 1, 1, failed),), large=(JOB,) if large else ())
    machine.control(SINK, message, 1.0)


def release(machine: BrokerMachine, **how: bool) -> list[bytes]:
    """Let go of the job. Returns the jobs that the sink is to forget."""
    machine.effects.clear()
    machine.control(CLIENT, to_broker.Release(ref=3, job=JOB, **how), 2.0)
    machine.tick(3.0)
    told = [e.message for e in machine.effects if isinstance(e, Control) and e.to == SINK]
    return [job for message in told if isinstance(message, from_broker.Forget) for job in message.jobs]


def attached(machine: BrokerMachine) -> Any:
    machine.effects.clear()
    machine.control(CLIENT, to_broker.Attach(ref=4, job=JOB), 4.0)
    (said,) = [e.message for e in machine.effects if isinstance(e, (Confirm, Reply))]
    return said.kind if isinstance(said, from_broker.Error) else said.value.state


@pytest.mark.parametrize(
    "failed, large, kept",
    [(0, False, False), (1, False, True), (1, True, False)],
    ids=["sound", "failed", "large"],
)
def test_a_job_that_was_read_stays_in_the_list_and_its_results_if_tasks_failed(
    failed: int, large: bool, kept: bool
) -> None:
    machine, job = done(failed, large=large)
    assert release(machine, history=True, complete=True) == ([] if kept else [JOB])
    told = machine.descriptions.status(job)
    assert (told.state, told.results, told.failed) == ("done", 1, failed)
    assert attached(machine) == ("done" if kept else "ResultsLost")
    again = job_of(row_of(job), [])
    assert (again.let_go_of, again.large) == (True, large)
    machine.effects.clear()
    hello(machine, sink(), jobs=((JOB, 1, 0),))
    forgets = [
        e for e in machine.effects if isinstance(e, Control) and isinstance(e.message, from_broker.Forget)
    ]
    assert bool(forgets) is not kept, "a sink that has it still is told again"


def test_a_job_whose_client_has_all_results_before_the_broker_knows_ends_as_done() -> None:
    machine = broker(lease=1000.0)
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, JOB)
    job = machine.jobs[JOB]
    assert not release(machine, history=True, complete=True) and job.state == "running"
    machine.effects.clear()
    complete(machine)
    machine.tick(3.0)
    assert job.state == "done" and attached(machine) == "ResultsLost"


def test_a_job_that_is_left_early_is_cancelled_and_stays_in_the_list() -> None:
    machine = broker(lease=1000.0)
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, JOB)
    assert release(machine, history=True) == [JOB]
    assert machine.jobs[JOB].state == "cancelled"
