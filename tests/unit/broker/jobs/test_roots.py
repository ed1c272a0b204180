"""Roots go out as credit allows, a slice of one job at a time."""

from __future__ import annotations

import pytest

from tests.unit.broker.driven import (
    CLIENT,
    ME,
    SINK,
    WORKER,
    answers,
    broker,
    credit,
    feed,
    hello,
    sink,
    submit,
    worker,
)
from zturbo.core.effects import Load, Record, Send
from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.messages import Batch, Statement, Taken
from zturbo.wire.payload import pack_many, pack_one
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.roots import CACHE_BYTES
from zturbo_broker.ledger.rows import LedgerCorrupt, job_of, row_of
from zturbo_broker.machine.machine import BrokerMachine


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
            (part.job, part.n)
            for effect in machine.effects
            if isinstance(effect, Send) and isinstance(effect.message, Batch)
            for part in [effect.message, *effect.message.riders]
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
    while not machine.jobs[job].owed_acks:
        feed(machine, job, seq, 1000)
        seq += 1
    assert 60 <= seq <= 70
    machine.effects.clear()
    while machine.jobs[job].owed_acks:
        credit(machine, 4096)
    assert [type(answer) for answer in answers(machine)] == [from_broker.Ok]
    machine.check()


def test_chunks_that_do_not_fit_in_memory_are_read_again() -> None:
    machine = broker()
    job = b"j" * 16
    submit(machine, job)
    text = pack_many(["x" * 10_000] * 1000)
    fit = CACHE_BYTES // len(text)
    for seq in range(2 * fit):
        message = to_broker.Feed(
            ref=2, job=job, seq=seq, first=seq * 1000, n=1000, metas=None, contents=(text,)
        )
        machine.control(CLIENT, message, 0.0)
    assert machine.life.roots.cached <= CACHE_BYTES and len(machine.jobs[job].cache) == fit
    hello(machine, worker())
    hello(machine, sink())
    machine.effects.clear()
    for _ in range(20):
        credit(machine, 4096)
    (load,) = [effect for effect in machine.effects if isinstance(effect, Load)]
    assert (load.job, load.seq) == (job, fit)
    machine.unreadable(job, 0, "a chunk is damaged", 0.0)
    assert (machine.jobs[job].state, machine.jobs[job].error) == ("failed", "a chunk is damaged")
    machine.check()


def test_a_job_that_cannot_use_its_turn_does_not_end_the_round_of_others() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    paused, large = b"P" * 16, b"L" * 16
    for job in (paused, large):
        submit(machine, job)
    machine.jobs[paused].paused_until = 1e9
    feed(machine, paused, 0, 10)
    for seq in range(3):
        feed(machine, large, seq, 1000)
    machine.effects.clear()
    credit(machine, 3000)
    sent = [
        (part.job, part.n)
        for effect in machine.effects
        if isinstance(effect, Send) and isinstance(effect.message, Batch)
        for part in [effect.message, *effect.message.riders]
    ]
    assert sum(n for job, n in sent if job == large) == 3000, "all slices, in one round"
    assert machine.pipelines["p"].queue.first() == paused, "it has kept its turn"


def test_large_roots_wait_in_the_ledger_and_not_in_the_queue_of_a_link() -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    job = b"L" * 16
    submit(machine, job)
    size = 1 << 20
    machine.data(Statement(WORKER, ME, 0, 0, [], 1000, 4 * size), 0.0)
    blob, buffers = pack_one(bytes(size))
    machine.rounds.together = True
    for seq in range(20):
        message = to_broker.Feed(
            ref=2, job=job, seq=seq, first=seq, n=1, metas=None, contents=(blob, *buffers)
        )
        machine.control(CLIENT, message, 0.0)
    machine.rounds.end(0.0)
    assert machine.senders.retained_tasks == 4, "as much as the credit in bytes lets go"
    assert machine.senders.pending_bytes <= 2 * size
    assert machine.jobs[job].backlog >= 14
    machine.check()


def running(**options: object) -> tuple[BrokerMachine, Job]:
    """A job of four chunks of ten roots, with a worker that has credit for none."""
    machine, name = broker(), b"j" * 16
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, name, **options)
    for seq in range(4):
        feed(machine, name, seq, 10)
    return machine, machine.jobs[name]


def taken(
    machine: BrokerMachine, job: Job, *numbers: int, epoch: int = 1
) -> list[tuple[str, tuple[object, ...]]]:
    """A sink says which roots were taken: what is recorded of that."""
    machine.effects.clear()
    message = to_broker.RootsTaken(incarnation=SINK, job=job.id, epoch=epoch, taken=numbers)
    machine.control(SINK, message, 1.0)
    machine.check()
    records = [effect for effect in machine.effects if isinstance(effect, Record)]
    return [(effect.op, effect.args) for effect in records if effect.op != "put_job"]


def roots_of(machine: BrokerMachine) -> list[int]:
    """The roots that were sent since the last look, with credit for all."""
    credit(machine, 100)
    for load in machine.effects:  # more are appended meanwhile
        if not isinstance(load, Load):
            continue
        first, n, _ = machine.jobs[load.job].chunks[load.seq]
        chunk = Batch(load.job, 0, 0, [((first,), n)], n, pack_many(list(range(n))))
        machine.loaded(load.job, load.seq, chunk, 1.0)
    batches = [e.message for e in machine.effects if isinstance(e, Send) and isinstance(e.message, Batch)]
    machine.effects.clear()
    runs = [run for batch in batches for part in (batch, *batch.riders) for run in part.runs]
    return [root for first, n in runs for root in range(first[0], first[0] + n)]


def test_chunks_go_when_the_results_of_all_their_roots_are_taken() -> None:
    machine, job = running()
    before = job.chunks.nbytes
    assert taken(machine, job, 9, 9, 0) == []
    assert taken(machine, job, 25, 30, 2) == [("trim_chunks", (job.id, 2))]
    assert (job.taken, len(job.chunks), job.chunks.total, job.fed) == (Taken(25, 30, 2), 4, 40, 4)
    assert (job.chunks[2], job.chunks.find(25)) == ((20, 10, job.chunks[2][2]), 2)
    assert job.chunks.nbytes < before and [*job.cache] == [2, 3]
    assert roots_of(machine) == [*range(25, 40)], "also those that were not sent yet"
    assert taken(machine, job, 40, 50, 2) == [("trim_chunks", (job.id, 4))]
    feed(machine, job.id, 4, 10)
    assert roots_of(machine) == [*range(40, 50)]


def test_roots_that_were_taken_never_go_again() -> None:
    machine, job = running()
    assert roots_of(machine) == [*range(40)]
    taken(machine, job, 25, 25, 0)
    machine.life.roots.again(job, [((20,), 10), ((3,), 4)])
    machine.life.queue(job)
    machine.rounds.event(1.0)
    assert roots_of(machine) == [25, 26, 27, 28, 29]
    machine.life.start_over(job, "a test", 2.0)
    machine.rounds.event(2.0)
    assert job.stamp is not None and (job.epoch, job.stamp.taken) == (2, Taken(25, 25, 0))
    assert roots_of(machine) == [*range(25, 40)]


@pytest.mark.parametrize(
    "numbers",
    [(41, 41, 0), (0, 0, 0)],
)
def test_a_word_on_roots_that_cannot_be_is_dropped(numbers: tuple[int, ...]) -> None:
    machine, job = running()
    assert taken(machine, job, *numbers) == [] and job.taken == Taken()
    assert taken(machine, job, 20, 20, 0, epoch=2) == [], "of another epoch"
    taken(machine, job, 20, 20, 0)
    assert taken(machine, job, 10, 10, 0) == [] and job.taken.roots == 20, "an old one"


def test_roots_stay_where_another_run_needs_them() -> None:
    for options in ({"max_retry": 1}, {"order": "none"}, {"order": "meta:k"}):
        machine, job = running(**options)
        assert job.stamp is not None and not job.stamp.trims
        assert taken(machine, job, 20, 20, 0) == [], options
    machine, job = running()
    taken(machine, job, 20, 20, 0)
    machine.control(WORKER, to_broker.Leave(incarnation=WORKER), 2.0)
    hello(machine, replace(worker(b"o" * 16), ordered=True))
    machine.life.start_over(job, "a test", 3.0)
    machine.rounds.event(3.0)
    assert (job.state, job.error_kind) == ("failed", "ResultsLost")
    assert "another order now" in str(job.error)


def test_a_restarted_broker_knows_which_roots_are_gone() -> None:
    machine, job = running()
    taken(machine, job, 25, 30, 2)
    index = [(seq, *job.chunks[seq]) for seq in (2, 3)]
    again = job_of(row_of(job), index)
    assert (again.taken, again.fed, again.chunks.total, again.chunks.find(25)) == (job.taken, 4, 40, 2)
    assert again.chunks.nbytes == job.chunks.nbytes
    with pytest.raises(LedgerCorrupt, match="chunk 2 is not in table chunk"):
        job_of(row_of(job), index[1:])
    taken(machine, job, 40, 50, 2)
    again = job_of(row_of(job), [])
    assert (again.fed, again.chunks.total, again.total) == (4, 40, 40)


def test_a_job_whose_last_roots_were_taken_leaves_the_queue() -> None:
    """They were to go again, for a worker that was lost, and another copy of them has come through."""
    machine, job = running()
    assert roots_of(machine) == [*range(40)]
    job.paused_until = 9.0
    machine.life.roots.again(job, [((30,), 10)])
    machine.life.queue(job)
    machine.rounds.event(1.0)
    assert taken(machine, job, 40, 40, 0) == [("trim_chunks", (job.id, 4))]
    assert not job.todo and job.backlog == 0
    job.paused_until = 0.0
    assert roots_of(machine) == []
    feed(machine, job.id, 4, 10)
    assert roots_of(machine) == [*range(40, 50)]
    machine.check()
