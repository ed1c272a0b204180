"""No event of one job costs more where the broker knows more jobs: lines of code are counted, not time."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tests.support.steps import steps
from tests.unit.broker.driven import (
    CLIENT,
    SINK,
    WORKER,
    broker,
    cancel,
    credit,
    feed,
    hello,
    sink,
    submit,
    worker,
)
from zturbo.jobstates import JobState
from zturbo.wire.control import to_broker
from zturbo_broker.jobs.job import Job
from zturbo_broker.machine.lifecycle import PLACED_AT_ONCE
from zturbo_broker.machine.machine import BrokerMachine

FEW, MANY = 50, 2000

OTHER = b"o" * 16
"""A second worker."""


def name(i: int) -> bytes:
    return i.to_bytes(16, "big")


def full(jobs: int) -> BrokerMachine:
    """A broker whose first stage has no credit, with this many running jobs that have roots to send."""
    machine = broker()
    hello(machine, worker())
    hello(machine, worker(OTHER))
    hello(machine, sink())
    for i in range(jobs):
        submit(machine, name(i), timeout=1e6)
        feed(machine, name(i), 0, 10)
    machine.effects.clear()
    return machine


def one_more(machine: BrokerMachine) -> None:
    submit(machine, b"m" * 16)
    feed(machine, b"m" * 16, 0, 10)


def telemetry(machine: BrokerMachine) -> None:
    machine.control(CLIENT, to_broker.Telemetry(ref=1), 1.0)


def death(machine: BrokerMachine) -> None:
    exited = to_broker.Exited(
        ref=1, node=b"n" * 16, incarnation=OTHER, code=1, text="exit code 1", who="p.a", cause="", running=()
    )
    machine.control(b"n" * 16, exited, 1.0)


EVENTS: dict[str, Callable[[BrokerMachine], object]] = {
    "cancel": lambda machine: cancel(machine, name(7), 1.0),
    "submit": one_more,
    "status": lambda machine: machine.control(CLIENT, to_broker.Jobs(ref=1, job=name(7), over=()), 1.0),
    "credit": lambda machine: credit(machine, 1),
    "deadline": BrokerMachine.deadline,
    "tick": lambda machine: machine.tick(2.0),
    "join": lambda machine: hello(machine, worker(b"x" * 16)),
    "death": death,
    "telemetry": telemetry,
}


class Rows:
    """A ledger that has many jobs which have ended."""

    def __init__(self, jobs: int) -> None:
        self.jobs = {
            name(i): Job(name(i), "n", "p", CLIENT, True, {}, b"d", number=i + 1, state=JobState.DONE)
            for i in range(jobs)
        }

    def find(self, *jobs: bytes) -> Job | None:
        return next((self.jobs[job] for job in jobs if job in self.jobs), None)

    def ended(self, before: int | None, most: int) -> list[Job]:
        numbers = range(min(before or math.inf, len(self.jobs) + 1) - 1, 0, -1)  # type: ignore[type-var]
        return [self.jobs[name(number - 1)] for number in numbers[:most]]


def archived(jobs: int) -> BrokerMachine:
    """A broker that knows this many jobs, which have ended."""
    rows = Rows(jobs)
    machine = broker(archive=rows)
    machine.restore([worker(), sink()], list(rows.jobs.values()), 0.0)
    hello(machine, worker(), view=1)
    hello(machine, sink(), view=1)
    return machine


def whole_life(machine: BrokerMachine) -> None:
    submit(machine, b"m" * 16)
    cancel(machine, b"m" * 16, 1.0)
    for member in (WORKER, SINK):
        counts = to_broker.LastCounts(incarnation=member, counts={b"m" * 16: (1, 0, 0)})
        machine.control(member, counts, 1.0)
    machine.tick(2.0)
    machine.recorded()


LATER: dict[str, Callable[[BrokerMachine], object]] = {
    "life": whole_life,
    "page": lambda machine: machine.control(
        CLIENT, to_broker.Jobs(ref=1, job=None, over=(), most=20, after=0), 1.0
    ),
    "attach": lambda machine: machine.control(CLIENT, to_broker.Attach(ref=1, job=name(7)), 1.0),
    "release": lambda machine: machine.control(CLIENT, to_broker.Release(ref=1, job=name(7)), 1.0),
    "hello": lambda machine: hello(machine, sink(), view=machine.membership.number),
    "deadline": BrokerMachine.deadline,
    "tick": lambda machine: machine.tick(2.0),
}


@pytest.mark.parametrize("event", LATER)
def test_an_event_costs_the_same_with_many_jobs_that_have_ended(event: str) -> None:
    few, many = archived(FEW), archived(MANY)
    LATER[event](archived(1))  # what is done once in a process is not counted
    assert not many.jobs, "they are not in memory"
    assert many.known.table.totals[JobState.DONE] == MANY
    assert steps(lambda: LATER[event](many)) <= steps(lambda: LATER[event](few)) + 20
    assert len(many.jobs) == 0


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_costs_the_same_with_many_jobs(event: str) -> None:
    few, many = full(FEW), full(MANY)
    assert len(many.jobs) == len(many.pipelines["p"].queue) == MANY
    assert steps(lambda: EVENTS[event](many)) <= steps(lambda: EVENTS[event](few)) + 20


def test_many_jobs_that_wait_for_a_worker_are_placed_in_steps() -> None:
    few, many = broker(), broker()
    for machine, jobs in ((few, PLACED_AT_ONCE + 1), (many, 4 * PLACED_AT_ONCE)):
        hello(machine, sink())
        for i in range(jobs):
            submit(machine, name(i))
    assert steps(lambda: hello(many, worker())) <= steps(lambda: hello(few, worker())) + 20
    assert running(many) == PLACED_AT_ONCE
    waiting = many.descriptions.status(many.jobs[name(PLACED_AT_ONCE)])
    assert (waiting.state, waiting.waiting) == ("waiting", "its turn: the jobs before it are placed first")
    for rounds in range(2, 5):
        due = many.deadline()
        assert due is not None and due <= 0.0, "the others are placed at once, between messages"
        many.tick(0.0)
        assert running(many) == rounds * PLACED_AT_ONCE
    due = many.deadline()
    assert due is None or due > 0.0


def running(machine: BrokerMachine) -> int:
    return machine.known.table.totals[JobState.RUNNING]
