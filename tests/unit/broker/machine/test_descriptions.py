"""What the broker tells of its jobs: how large they are, and what they wait for."""

from __future__ import annotations

from tests.unit.broker.driven import WORKER, broker, cancel, feed, hello, sink, submit, worker
from zturbo.wire.control import to_broker
from zturbo_broker.jobs.quotas import JOB_MEMORY


def test_the_size_of_a_job_is_told_until_it_ends() -> None:
    machine, name = broker(), b"j" * 16
    submit(machine, name)
    job = machine.jobs[name]

    def sizes() -> tuple[int, int]:
        told = machine.descriptions.status(job)
        return told.input_bytes, told.memory

    empty = JOB_MEMORY + len("n")
    assert sizes() == (0, empty)
    feed(machine, name, 0, 3)
    feed(machine, name, 1, 500)
    nbytes = job.chunks.nbytes
    assert nbytes > 500 and sizes() == (nbytes, empty + nbytes)
    cancel(machine, name, 1.0)
    assert sizes() == (0, 0)


def test_what_a_job_takes_at_its_sink_is_told_until_it_ends() -> None:
    machine, name = broker(), b"j" * 16
    submit(machine, name)
    hello(machine, worker(), now=1.0)
    hello(machine, sink(), now=1.0)
    machine.tick(1.0)
    job = machine.jobs[name]
    assert job.stamp is not None and machine.descriptions.status(job).stored == 0
    who = job.stamp.sink
    machine.control(who, to_broker.Progress(incarnation=who, counts={name: (5, 1, 2, 4000)}), 1.0)
    told = machine.descriptions.status(job)
    assert (told.results, told.failed, told.stored) == (5, 1, 4000)
    cancel(machine, name, 2.0)
    assert machine.descriptions.status(job).stored == 0


def test_what_a_job_waits_for_is_told_as_long_as_it_waits() -> None:
    machine, name = broker(lease=1000.0), b"j" * 16
    submit(machine, name)
    job = machine.jobs[name]

    def waits_for() -> str | None:
        return machine.descriptions.status(job).waiting

    machine.tick(1.0)
    assert waits_for() == "a worker of stage p.a"
    hello(machine, worker(), now=1.0)
    machine.tick(2.0)
    assert waits_for() == "a sink"
    hello(machine, sink(), now=2.0)
    machine.tick(3.0)
    assert (job.state, waits_for()) == ("running", None)
    machine.control(WORKER, to_broker.Leave(incarnation=WORKER), 4.0)
    assert waits_for() == "a worker of stage p.a"
    cancel(machine, name, 5.0)
    assert waits_for() is None, "it has ended"
