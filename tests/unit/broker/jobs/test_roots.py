"""Roots go out as credit allows, a slice of one job at a time."""

from __future__ import annotations

from tests.unit.broker.driven import (
    CLIENT,
    ME,
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
from zturbo.core.effects import Load, Send
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.messages import Batch, Statement
from zturbo.wire.payload import pack_many, pack_one
from zturbo_broker.jobs.roots import CACHE_BYTES


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
