"""What survives a long collection is not looked at again; ended jobs need no collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.unit.broker.driven import CLIENT, SINK, WORKER, broker, cancel, feed, hello, sink, submit, worker
from zturbo.runtime.process.collecting import spare_survivors
from zturbo.wire.control import to_broker
from zturbo_broker.jobs.job import Job


@pytest.fixture
def sparing() -> Iterator[None]:
    """Each full collection counts as a long one."""
    end = spare_survivors(-1.0)
    yield
    end()


def looked_at(kind: type) -> int:
    return sum(type(one) is kind for one in gc.get_objects())


class Queued:
    """Something that lives long."""


@pytest.mark.usefixtures("sparing")
def test_survivors_of_a_long_collection_are_left_alone_and_freed_as_ever() -> None:
    queued = [Queued() for _ in range(1000)]
    assert looked_at(Queued) == 1000
    gc.collect(1)
    assert looked_at(Queued) == 1000, "only full collections take long"
    gc.collect()
    assert looked_at(Queued) == 0
    later = Queued()
    assert looked_at(Queued) == 1
    queued.clear()
    gc.unfreeze()
    assert looked_at(Queued) == 1 and isinstance(later, Queued), "the others are gone"


def test_after_a_quick_collection_all_are_looked_at_again() -> None:
    end = spare_survivors(1e9)
    try:
        queued = [Queued() for _ in range(10)]
        gc.collect()
        assert looked_at(Queued) == len(queued)
    finally:
        end()


def test_a_job_that_has_ended_is_in_no_cycle() -> None:
    """Else a broker with many jobs would grow for ever."""
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    gc.collect()
    gc.disable()
    try:
        for number in range(50):
            job = number.to_bytes(16, "big")
            submit(machine, job, timeout=1e6)
            feed(machine, job, 0, 10)
            if number % 2:
                cancel(machine, job, 1.0)
            else:
                machine.control(CLIENT, to_broker.CloseFeed(ref=3, job=job, chunks=1, total=10), 1.0)
                machine.control(SINK, to_broker.Complete(incarnation=SINK, jobs=((job, 1, 10, 0),)), 1.0)
            for member in (WORKER, SINK):
                counts = to_broker.LastCounts(incarnation=member, counts={job: (1, 0, 0)})
                machine.control(member, counts, 1.0)
            machine.recorded()
            machine.effects.clear()
        assert not machine.jobs and looked_at(Job) == 0
    finally:
        gc.enable()
