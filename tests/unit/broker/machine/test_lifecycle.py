"""What becomes of jobs: placed, started over, ended, forgotten."""

from __future__ import annotations

import pytest

from tests.unit.broker.driven import (
    CLIENT,
    SINK,
    WORKER,
    broker,
    feed,
    hello,
    renew,
    sink,
    submit,
    worker,
)
from zturbo.core.effects import Confirm, Control
from zturbo.wire.control import from_broker, to_broker


@pytest.mark.parametrize("retries, fast", [(0, True), (1, False)])
def test_fail_fast_waits_for_the_retries(retries: int, fast: bool) -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, b"j" * 16, fail_fast=True, max_retry=retries)
    stamp = machine.jobs[b"j" * 16].stamp
    assert stamp is not None and stamp.fail_fast is fast


def test_a_client_that_is_gone_for_an_hour_finds_its_job() -> None:
    """Its results are kept for a day; a job that it fed, and fell silent about for a minute, is lost."""
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    done, fed = b"d" * 16, b"f" * 16
    for job in (done, fed):
        submit(machine, job)
        feed(machine, job, 0, 5)
    machine.control(CLIENT, to_broker.CloseFeed(ref=3, job=done, chunks=1, total=5), 0.0)
    epoch = machine.jobs[done].epoch
    told = to_broker.Complete(incarnation=SINK, jobs=((done, epoch, 5, 0),))

    def until(end: float, now: float) -> None:
        while now < end:
            now += 1.0
            renew(machine, (WORKER, SINK), now)
            machine.tick(now)
            machine.effects.clear()

    machine.control(SINK, told, 1.0)
    until(3600.0, 1.0)
    assert (machine.jobs[done].state, machine.jobs[fed].error_kind) == ("done", "ClientLost")
    machine.control(CLIENT, to_broker.Attach(ref=4, job=done), 3600.0)
    (answer,) = [effect.message for effect in machine.effects if isinstance(effect, (Confirm, Control))]
    assert isinstance(answer, from_broker.Ok) and answer.value.state == "done"
    assert answer.value.sink == SINK
    until(86_402.0, 3600.0)
    assert done not in machine.jobs, "a day, and no longer"
