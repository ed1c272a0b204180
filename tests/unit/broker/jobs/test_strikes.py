"""Deaths of workers count against the tasks that ran."""

from __future__ import annotations

from tests.unit.broker.driven import (
    ME,
    broker,
    hello,
    sink,
    submit,
    worker,
)
from zturbo.wire.control.view import Member
from zturbo_broker.jobs.strikes import Death
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine


def test_whoever_runs_a_condemned_task_unaware_of_that_does_not_end_its_job() -> None:
    """It got as far as the others did before the task was condemned: nothing else has been given out."""
    member = Member(ME, "broker", "", -1, "h", ("ipc://x",))
    machine = BrokerMachine(member, [PipelineInfo("p", ["a", "b"])], view=1, version="1")
    hello(machine, Member(b"o" * 16, "worker", "p", 1, "h", ("ipc://o",), ordered=True), stage_name="b")
    hello(machine, sink())
    workers = [bytes([i]) * 16 for i in range(4)]
    for name in workers:
        hello(machine, worker(name))
    job = b"j" * 16
    submit(machine, job)
    for name in workers:
        machine.gone(name, 1.0, Death(0, "a", "SIGSEGV", "", ((job, 1, (7,), 1),)))
    (mark,) = machine.jobs[job].marks
    assert (mark.kind, mark.given) == ("WorkerLost", 1)
    assert machine.jobs[job].state == "running"


def test_of_several_that_ran_none_is_condemned_in_company() -> None:
    """Of whatever job; a first strike makes no suspect of anybody."""
    machine = broker()
    hello(machine, sink())
    workers = [bytes([i]) * 16 for i in range(5)]
    for name in workers:
        hello(machine, worker(name))
    jobs = [bytes([100 + i]) * 16 for i in range(2)]
    for job in jobs:
        submit(machine, job)
    running = tuple((job, 1, (k,), 0) for job in jobs for k in range(2))

    def marks() -> list[list[tuple[tuple[int, ...], str]]]:
        return [sorted((mark.path, mark.kind) for mark in machine.jobs[job].marks) for job in jobs]

    for number, name in enumerate(workers[:4]):
        machine.gone(name, 1.0, Death(0, "a", "SIGKILL", "", running))
        assert marks() == ([[], []] if number == 0 else [[((0,), ""), ((1,), "")]] * 2)
    machine.gone(workers[4], 1.0, Death(0, "a", "SIGKILL", "", running[:1]))
    assert marks() == [[((0,), "WorkerLost"), ((1,), "")], [((0,), ""), ((1,), "")]]
    assert "and 3 others" in machine.jobs[jobs[1]].incidents[0]
