"""No event of one job costs more where the broker knows more jobs: lines of code are counted, not time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.unit.broker.driven import CLIENT, broker, cancel, credit, feed, hello, sink, submit, worker
from zturbo.wire.control import to_broker
from zturbo_broker.machine.machine import BrokerMachine

FEW, MANY = 50, 2000


def steps(call: Callable[[], object]) -> int:
    """Lines of Python that this runs."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def name(i: int) -> bytes:
    return i.to_bytes(16, "big")


def full(jobs: int) -> BrokerMachine:
    """A broker whose first stage has no credit, with this many running jobs that have roots to send."""
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    for i in range(jobs):
        submit(machine, name(i), timeout=1e6)
        feed(machine, name(i), 0, 10)
    machine.effects.clear()
    return machine


def one_more(machine: BrokerMachine) -> None:
    submit(machine, b"m" * 16)
    feed(machine, b"m" * 16, 0, 10)


EVENTS: dict[str, Callable[[BrokerMachine], object]] = {
    "cancel": lambda machine: cancel(machine, name(7), 1.0),
    "submit": one_more,
    "status": lambda machine: machine.control(CLIENT, to_broker.Jobs(ref=1, job=name(7), over=()), 1.0),
    "credit": lambda machine: credit(machine, 1),
    "deadline": BrokerMachine.deadline,
    "tick": lambda machine: machine.tick(2.0),
}


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_costs_the_same_with_many_jobs(event: str) -> None:
    few, many = full(FEW), full(MANY)
    assert len(many.jobs) == len(many.pipelines["p"].queue) == MANY
    assert steps(lambda: EVENTS[event](many)) <= steps(lambda: EVENTS[event](few)) + 20
