"""How many tasks of each job wait, and how many the code has."""

from __future__ import annotations

from zturbo.core.effects import Work
from zturbo.core.worker.counts import waiting_and_running
from zturbo.core.worker.queue import InputQueue
from zturbo.wire.messages import Batch

A, B, ENDED = (name * 16 for name in (b"a", b"b", b"e"))


def a_batch(job: bytes, number: int, n: int) -> Batch:
    return Batch(job, 1, 0, [((0,), n)], n, bytes(n), number=number, source=b"s" * 16)


def work(job: bytes, n: int, started: int) -> Work:
    made = Work(job, 1, [(a_batch(job, 9, n), 0, n)], (b"s" * 16, 9), [])
    for _ in range(started):
        next(made.unstarted)
    return made


def test_nothing_is_told_of_jobs_that_are_not_here() -> None:
    queue = InputQueue()
    queue.add(a_batch(ENDED, 1, 5))
    assert waiting_and_running({}, queue, [work(ENDED, 3, 1)]) == {}


def test_what_waits_is_queued_set_aside_or_in_the_sequencer() -> None:
    queue = InputQueue()
    queue.add(a_batch(A, 1, 5))
    queue.add(a_batch(B, 2, 2))
    part = queue.next(lambda job: {(2,)})
    assert part is not None and part.n == 2
    assert waiting_and_running({A: 0, B: 7}, queue, []) == {A: (3, 0), B: (9, 0)}


def test_the_code_has_what_is_not_begun_and_the_task_that_was_begun_last() -> None:
    works = [work(A, 4, 0), work(A, 4, 1), work(A, 4, 4), work(B, 1, 1)]
    counts = waiting_and_running({A: 0, B: 0}, InputQueue(), works)
    assert counts == {A: (0, 4 + (3 + 1) + 1), B: (0, 1)}


def test_what_was_taken_back_is_not_with_the_code() -> None:
    made = work(A, 4, 1)
    for _ in made.unstarted:
        made.cut += 1
    assert waiting_and_running({A: 0}, InputQueue(), [made]) == {A: (0, 1)}
