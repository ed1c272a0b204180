"""The broker's decisions, without a broker."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo.core.effects import Confirm, Control, Load, Record, Reply, Send
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Batch, Statement
from zturbo.wire.payload import pack_many
from zturbo_broker.jobs.counts import PATIENCE
from zturbo_broker.jobs.strikes import Death
from zturbo_broker.ledger.rows import job_of, row_of
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine

ME, WORKER, SINK, CLIENT = b"B" * 16, b"w" * 16, b"s" * 16, b"c" * 16


def broker(**options: Any) -> BrokerMachine:
    member = Member(ME, "broker", "", -1, "h", ("ipc://x",))
    return BrokerMachine(member, [PipelineInfo("p", ["a"])], view=1, version="1", **options)


def hello(machine: BrokerMachine, whom: Member, **changes: Any) -> list[Message]:
    message = to_broker.Hello(
        member=whom,
        node=b"n" * 16,
        pid=1,
        protocol=PROTOCOL,
        version="1",
        python="3",
        stage="a",
        code="",
        view=0,
        jobs=(),
    )
    machine.effects.clear()
    machine.control(whom.incarnation, message.but(**changes), 0.0)
    return [effect.message for effect in machine.effects if isinstance(effect, Control)]


def worker(name: bytes = WORKER, stage: int = 0) -> Member:
    return Member(name, "worker", "p", stage, "h", ("ipc://w",))


def sink() -> Member:
    return Member(SINK, "sink", "", -1, "h", ("ipc://s",), ("ipc://r",))


def submit(machine: BrokerMachine, job: bytes, *, client: bytes = CLIENT, **options: Any) -> Message:
    machine.effects.clear()
    message = to_broker.Submit(
        ref=1,
        client=client,
        job=job,
        name="n",
        pipeline="p",
        stream=True,
        options=options,
        meta=None,
        digest=b"d",
    )
    machine.control(client, message, 0.0)
    (answer,) = [effect.message for effect in machine.effects if isinstance(effect, Confirm)]
    return answer


def feed(machine: BrokerMachine, job: bytes, seq: int, n: int) -> None:
    first = machine.jobs[job].total
    contents = (pack_many(list(range(n))),)
    message = to_broker.Feed(ref=2, job=job, seq=seq, first=first, n=n, metas=None, contents=contents)
    machine.control(CLIENT, message, 0.0)


def renew(machine: BrokerMachine, members: tuple[bytes, ...], now: float) -> None:
    machine.control(b"n" * 16, to_broker.Renew(node=b"n" * 16, alive=members), now)


def progress(machine: BrokerMachine, counts: dict[bytes, tuple[int, int, int, int]]) -> None:
    machine.control(WORKER, to_broker.Progress(incarnation=WORKER, counts=counts), 0.0)


def last_counts(machine: BrokerMachine, job: bytes, counts: tuple[int, int, int], now: float) -> None:
    machine.control(WORKER, to_broker.LastCounts(incarnation=WORKER, counts={job: counts}), now)


def cancel(machine: BrokerMachine, job: bytes, now: float, ref: int = 1) -> None:
    machine.control(CLIENT, to_broker.Cancel(ref=ref, job=job), now)


def credit(machine: BrokerMachine, tasks: int) -> None:
    link = machine.senders.links[WORKER]
    said = Statement(WORKER, ME, link.sent, link.sent, [], link.tasks_sent + tasks, 1 << 40)
    machine.data(said, 0.0)


def test_members_that_do_not_fit_are_told_why() -> None:
    machine = broker()
    for changes, said in (
        ({"protocol": 99}, "protocol 99, this broker 1"),
        ({"version": "2"}, "zturbo 2, this broker 1"),
        ({"stage": "b"}, "stage 0 of p is 'a' here, not 'b'"),
        ({"member": worker(stage=7)}, "no stage p.a"),
        ({"view": 3}, "taken out of the view"),
    ):
        (answer,) = hello(machine, worker(), **changes)
        assert isinstance(answer, from_broker.Refused) and said in answer.reason
    assert not machine.membership.members()


def test_a_member_whose_lease_runs_out_is_out_and_stays_out() -> None:
    machine = broker(lease=5.0)
    assert isinstance(hello(machine, worker())[0], from_broker.Welcome)
    renew(machine, (WORKER,), 3.0)
    machine.tick(7.9)
    assert machine.membership.members() == [worker()]
    machine.tick(8.1)
    assert not machine.membership.members()
    assert isinstance(hello(machine, worker(), view=2)[0], from_broker.Refused)


def test_time_without_a_broker_is_on_no_lease() -> None:
    machine = broker(lease=5.0)
    hello(machine, worker())
    machine.stood_still(95.0)
    machine.tick(99.0)
    assert WORKER in machine.membership
    machine.tick(100.1)
    assert WORKER not in machine.membership


def test_a_small_job_does_not_wait_behind_a_large_one() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    large, small = b"L" * 16, b"S" * 16
    submit(machine, large, client=b"1" * 16)
    submit(machine, small, client=b"2" * 16)
    for seq in range(40):
        feed(machine, large, seq, 1000)
    feed(machine, small, 0, 10)
    machine.effects.clear()
    sent: list[tuple[bytes, int]] = []
    for _ in range(4):
        credit(machine, 100)
        sent += [
            (effect.message.job, effect.message.n)
            for effect in machine.effects
            if isinstance(effect, Send) and isinstance(effect.message, Batch)
        ]
        machine.effects.clear()
    assert sum(n for job, n in sent if job == small) == 10, "all of it, after at most one slice of the other"
    assert sum(n for job, n in sent if job == large) >= 300
    machine.check()


def test_a_feeder_is_held_back_by_its_own_backlog_and_let_go() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job = b"j" * 16
    submit(machine, job)
    seq = 0
    while not machine.jobs[job].held_acks:
        feed(machine, job, seq, 1000)
        seq += 1
    assert 60 <= seq <= 70
    machine.effects.clear()
    while machine.jobs[job].held_acks:
        credit(machine, 4096)
    assert [type(answer) for answer in answers(machine)] == [from_broker.Ok]
    machine.check()


def test_chunks_that_do_not_fit_in_memory_are_read_again() -> None:
    machine = broker()
    job = b"j" * 16
    submit(machine, job)
    text = pack_many(["x" * 10_000] * 1000)
    for seq in range(6):
        message = to_broker.Feed(
            ref=2, job=job, seq=seq, first=seq * 1000, n=1000, metas=None, contents=(text,)
        )
        machine.control(CLIENT, message, 0.0)
    assert machine.life.roots.cached <= 32 << 20 and len(machine.jobs[job].cache) == 3
    hello(machine, worker())
    hello(machine, sink())
    machine.effects.clear()
    for _ in range(20):
        credit(machine, 4096)
    (load,) = [effect for effect in machine.effects if isinstance(effect, Load)]
    assert (load.job, load.seq) == (job, 3)
    machine.unreadable(job, "chunk 3 is damaged", 0.0)
    assert (machine.jobs[job].state, machine.jobs[job].error) == ("failed", "chunk 3 is damaged")
    machine.check()


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


def test_what_was_decided_is_recorded_before_it_is_said() -> None:
    machine = broker()
    submit(machine, b"j" * 16)
    kinds = [type(effect) for effect in machine.effects]
    assert kinds.index(Record) < kinds.index(Confirm)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"speed": 1}, "unknown job option 'speed'"),
        ({"priority": "high"}, "'priority' is to be of type int"),
        ({"durability": "disk"}, "'fsync', 'process' or 'memory'"),
        ({"order": "id"}, "'path', 'none', or 'meta:KEY'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    answer = submit(broker(), b"j" * 16, **options)
    assert isinstance(answer, from_broker.Error) and said in answer.message


def test_whoever_runs_a_condemned_task_unaware_of_that_does_not_end_its_job() -> None:
    """It got as far as the others did before the task was condemned: nothing else has been given out."""
    member = Member(ME, "broker", "", -1, "h", ("ipc://x",))
    machine = BrokerMachine(member, [PipelineInfo("p", ["a", "b"])], view=1, version="1")
    hello(machine, Member(b"o" * 16, "worker", "p", 1, "h", ("ipc://o",), ordered=True), stage="b")
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


def answers(machine: BrokerMachine) -> list[Any]:
    """What clients were answered since the last look."""
    said = [effect.message for effect in machine.effects if isinstance(effect, (Confirm, Reply))]
    machine.effects.clear()
    return [message for message in said if isinstance(message, (from_broker.Ok, from_broker.Error))]


def test_the_end_of_jobs_is_told_to_who_waits_for_it() -> None:
    machine = broker()
    jobs = [bytes([i]) * 16 for i in range(3)]
    for job in jobs[:2]:
        submit(machine, job)
    machine.effects.clear()

    def watch(ref: int, jobs: list[bytes], now: float, who: bytes = CLIENT) -> None:
        machine.control(who, to_broker.Watch(ref=ref, jobs=tuple(jobs)), now)

    watch(1, jobs[:2], 0.0)
    watch(9, jobs[:1], 0.0, b"d" * 16)
    assert answers(machine) == []
    watch(2, jobs[:2], 1.0)  # in the place of the first
    cancel(machine, jobs[1], 2.0, ref=3)
    told, _ = answers(machine)
    ended = (jobs[1], "cancelled", "JobCancelled", "cancelled by a client")
    assert told == from_broker.Ok(ref=2, value=(ended,))
    watch(4, jobs, 3.0)
    assert answers(machine)[0].value == (ended, (jobs[2], "unknown", None, None)), "at once"
    watch(5, [], 4.0)
    assert answers(machine)[0].value == ()
    watch(6, jobs[:1], 100.0)
    cancel(machine, jobs[0], 100.0, ref=7)
    assert [answer.ref for answer in answers(machine)] == [6, 7], "the other left long ago"


def test_counts_of_each_stage_outlive_the_job() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job = b"j" * 16
    submit(machine, job)
    feed(machine, job, 0, 9)

    def counts() -> dict[str, Any]:
        (count,) = machine.clients.status(machine.jobs[job]).counts
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
    whole = to_broker.Complete(incarnation=SINK, job=job, epoch=1, results=50, failed=0)
    machine.control(b"s", whole, 1.0)
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
    whole = to_broker.Complete(incarnation=SINK, job=job, epoch=1, results=50, failed=0)
    machine.control(b"s", whole, 1.0)
    last_counts(machine, job, (1, 50, 0), 1.1)
    answer = next(answer for answer in answers(machine) if answer.ref == 7)
    assert answer.value.jobs[0].state == "done" and done_of(answer) == 50


def test_counts_outlive_workers_and_are_those_of_the_last_epoch() -> None:
    machine, job = ended_job()
    last_counts(machine, job, (0, 99, 9), 1.1)
    assert machine.clients.status(machine.jobs[job]).counts[0].done == 0, "it never heard of this epoch"
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, job)
    progress(machine, {job: (25, 1, 3, 1)})
    machine.gone(WORKER, 1.0)
    (count,) = machine.clients.status(machine.jobs[job]).counts
    assert (count.done, count.failed, count.running) == (25, 1, 0)
    restored = job_of(row_of(machine.jobs[job]), [(0, -1, 1, 1)])
    assert restored.counted == {0: (25, 1)} and not restored.counts_final


@pytest.mark.parametrize("retries, fast", [(0, True), (1, False)])
def test_fail_fast_waits_for_the_retries(retries: int, fast: bool) -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, b"j" * 16, fail_fast=True, max_retry=retries)
    stamp = machine.jobs[b"j" * 16].stamp
    assert stamp is not None and stamp.fail_fast is fast


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


def test_nodes_are_told_again_of_a_job_that_was_cancelled() -> None:
    """The first word may get lost, and a task that hangs would hang on."""
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job, node = b"j" * 16, b"n" * 16
    submit(machine, job)
    cancel(machine, job, 1.0)
    machine.effects.clear()
    for now, told in ((2.0, [(job,)]), (20.0, [])):
        renew(machine, (WORKER,), now)
        said = [effect for effect in machine.effects if isinstance(effect, Control) and effect.to == node]
        forgets = [effect.message for effect in said if isinstance(effect.message, from_broker.Forget)]
        assert [message.jobs for message in forgets] == told
        machine.effects.clear()


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
    told = to_broker.Complete(incarnation=SINK, job=done, epoch=epoch, results=5, failed=0)

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


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), 0, -1.0])
def test_a_time_out_that_is_none_is_refused(timeout: float) -> None:
    answer = submit(broker(), b"j" * 16, timeout=timeout)
    assert isinstance(answer, from_broker.Error)
    assert answer.kind == "UsageError" and "'timeout'" in answer.message


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
    other.gone(SINK, 1.0, Death(-1, "sink-0 (process 7 on h)", "SIGKILL"))
    assert other.jobs[b"j" * 16].incidents[0] == "sink-0 (process 7 on h) died: SIGKILL"
