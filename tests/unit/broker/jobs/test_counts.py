"""The counts of a job, and questions that wait for the last of them."""

from __future__ import annotations

from typing import Any

from tests.unit.broker.driven import (
    CLIENT,
    SINK,
    WORKER,
    answers,
    broker,
    cancel,
    credit,
    feed,
    hello,
    last_counts,
    progress,
    sink,
    submit,
    worker,
)
from zturbo.wire.control import from_broker, to_broker
from zturbo_broker.jobs.counts import PATIENCE
from zturbo_broker.ledger.rows import job_of, row_of
from zturbo_broker.machine.machine import BrokerMachine


def test_counts_of_each_stage_outlive_the_job() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job = b"j" * 16
    submit(machine, job)
    feed(machine, job, 0, 9)

    def counts() -> dict[str, Any]:
        (count,) = machine.descriptions.status(machine.jobs[job]).counts
        return count.as_map()

    assert counts() == {"stage": "a", "queued": 9, "running": 0, "done": 0, "failed": 0}
    credit(machine, 9)
    progress(machine, {job: (4, 1, 3, 2)})
    assert counts() == {"stage": "a", "queued": 3, "running": 2, "done": 4, "failed": 1}
    cancel(machine, job, 1.0)
    assert counts() == {"stage": "a", "queued": 0, "running": 0, "done": 4, "failed": 1}
    last_counts(machine, job, (1, 6, 2), 1.0)
    last_counts(machine, job, (1, 60, 20), 1.0)  # said again
    progress(machine, {})
    assert counts() == {"stage": "a", "queued": 0, "running": 0, "done": 6, "failed": 2}


def ended_job() -> tuple[BrokerMachine, bytes]:
    """A job that is done, of which its worker has told that half is."""
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job = b"j" * 16
    submit(machine, job)
    progress(machine, {job: (25, 0, 3, 1)})
    whole = to_broker.Complete(incarnation=SINK, jobs=((job, 1, 50, 0),))
    machine.control(SINK, whole, 1.0)
    machine.effects.clear()
    return machine, job


def asked(machine: BrokerMachine, over: list[bytes], now: float) -> list[Any]:
    """The answers to a question about all jobs, asked twice, as far as they are there."""
    for _ in range(2):
        machine.control(CLIENT, to_broker.Jobs(ref=7, job=None, over=tuple(over)), now)
    return answers(machine)


def done_of(answer: from_broker.Ok) -> int:
    (job,) = answer.value.jobs
    return int(job.counts[0].done)


def test_a_question_about_a_job_that_has_just_ended_waits_for_the_last_counts() -> None:
    machine, job = ended_job()
    assert asked(machine, [], 1.0) == []
    last_counts(machine, job, (1, 50, 0), 1.1)
    (answer,) = answers(machine)
    assert answer.ref == 7 and done_of(answer) == 50
    assert [done_of(answer) for answer in asked(machine, [], 1.2)] == [50, 50], "at once"


def test_a_question_does_not_wait_for_a_worker_that_is_silent_or_gone() -> None:
    machine, job = ended_job()
    assert asked(machine, [], 1.0) == []
    due = machine.deadline()
    assert due is not None and due <= 1.0 + PATIENCE
    machine.tick(1.0 + PATIENCE)
    assert [done_of(answer) for answer in answers(machine)] == [25], "what it said last"
    machine, job = ended_job()
    assert asked(machine, [], 1.0) == []
    machine.gone(WORKER, 1.5)
    assert [done_of(answer) for answer in answers(machine)] == [25]
    machine, job = ended_job()
    assert asked(machine, [], 1.0) == []
    machine.control(CLIENT, to_broker.Release(ref=8, job=job), 1.5)
    assert {answer.ref for answer in answers(machine)} == {7, 8}


def test_a_client_that_has_all_results_waits_for_the_job_to_be_done() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job = b"j" * 16
    submit(machine, job)
    machine.effects.clear()
    assert len(asked(machine, [], 1.0)) == 2, "it runs, and is told so at once"
    assert asked(machine, [job], 1.0) == []
    whole = to_broker.Complete(incarnation=SINK, jobs=((job, 1, 50, 0),))
    machine.control(SINK, whole, 1.0)
    last_counts(machine, job, (1, 50, 0), 1.1)
    answer = next(answer for answer in answers(machine) if answer.ref == 7)
    assert answer.value.jobs[0].state == "done" and done_of(answer) == 50


def test_a_question_waits_for_last_counts_also_if_the_end_was_awaited_first() -> None:
    """A sink says at once that a job's roots have ended, and that the job has."""
    machine, job = ended_job()
    counts, question = machine.known.counts, to_broker.Jobs(ref=9, job=job, over=(job,))
    assert counts.waits(CLIENT, question, machine.jobs, 1.0)
    counts.reported(job)
    assert counts.answerable(1.1) == []
    last_counts(machine, job, (1, 50, 0), 1.2)
    assert [answer.ref for answer in answers(machine)] == [9]


def test_counts_outlive_workers_and_are_those_of_the_last_epoch() -> None:
    machine, job = ended_job()
    last_counts(machine, job, (0, 99, 9), 1.1)
    assert machine.descriptions.status(machine.jobs[job]).counts[0].done == 0, "it never heard of this epoch"
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, job)
    progress(machine, {job: (25, 1, 3, 1)})
    machine.gone(WORKER, 1.0)
    (count,) = machine.descriptions.status(machine.jobs[job]).counts
    assert (count.done, count.failed, count.running) == (25, 1, 0)
    restored = job_of(row_of(machine.jobs[job]), [(0, -1, 1, 1)])
    assert restored.counted == {0: (25, 1)} and not restored.counts_final
