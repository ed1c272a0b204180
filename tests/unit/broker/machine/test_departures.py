"""Members that are lost, and their jobs."""

from __future__ import annotations

from tests.unit.broker.driven import (
    SINK,
    broker,
    hello,
    progress,
    sink,
    submit,
    worker,
)
from zturbo.wire.control import from_broker
from zturbo.wire.control.view import Member
from zturbo_broker.jobs.strikes import Death


def test_a_lost_sink_starts_jobs_over_in_a_higher_epoch() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job = b"j" * 16
    submit(machine, job)
    assert (machine.jobs[job].state, machine.jobs[job].epoch) == ("running", 1)
    machine.gone(SINK, 1.0)
    assert (machine.jobs[job].state, machine.jobs[job].waiting) == ("waiting", "a sink")
    other = Member(b"t" * 16, "sink", "", -1, "h", ("ipc://s",), ("ipc://r",))
    stamps = [m.stamp for m in hello(machine, other) if isinstance(m, from_broker.NewStamp)]
    assert machine.jobs[job].epoch == 2 and {stamp.sink for stamp in stamps} == {b"t" * 16}


def test_a_job_is_told_whom_it_has_lost() -> None:
    machine = broker(lease=5.0)
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, b"j" * 16)
    progress(machine, {b"j" * 16: (0, 0, 0, 1)})
    machine.tick(6.0)
    assert list(machine.jobs[b"j" * 16].incidents) == [
        "p.a on h was not heard of for its lease, and counts as dead",
        "sink on h was not heard of for its lease, and counts as dead",
        "its sink is gone: the job starts over",
    ]
    other = broker(lease=5.0)
    hello(other, worker())
    hello(other, sink())
    submit(other, b"j" * 16)
    progress(other, {b"j" * 16: (7, 0, 0, 0)})
    other.members.cut_off(worker(), "p.a on h does not answer", 1.0)
    assert list(other.jobs[b"j" * 16].incidents) == ["p.a on h was taken out: p.a on h does not answer"]
    other = broker(lease=5.0)
    hello(other, worker())
    hello(other, sink())
    submit(other, b"j" * 16)
    other.gone(SINK, 1.0, Death(-1, "sink-0 (process 7 on h)", "SIGKILL"))
    assert other.jobs[b"j" * 16].incidents[0] == "sink-0 (process 7 on h) died: SIGKILL"
