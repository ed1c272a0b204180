"""A queue in which jobs take turns."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.links.round_robin import RoundRobin

A, B, C = b"a", b"b", b"c"


def drain(queue: RoundRobin[str]) -> str:
    return "".join(queue.popleft() for _ in range(len(queue)))


def test_jobs_take_turns_and_each_keeps_its_order() -> None:
    queue: RoundRobin[str] = RoundRobin()
    for job, item in [(A, "1"), (A, "2"), (A, "3"), (B, "x"), (C, "p"), (C, "q")]:
        queue.append(job, item)
    assert queue.first() == "1" and drain(queue) == "1xp2q3"


def test_a_part_that_comes_back_goes_before_the_rest_of_its_job_at_the_next_turn() -> None:
    queue: RoundRobin[str] = RoundRobin()
    for job, item in [(A, "1"), (A, "2"), (B, "x")]:
        queue.append(job, item)
    assert queue.popleft() == "1"
    queue.appendleft(A, "rest of 1")
    assert [queue.popleft() for _ in range(3)] == ["x", "rest of 1", "2"]


def test_a_job_is_taken_out_whole() -> None:
    queue: RoundRobin[str] = RoundRobin()
    for job, item in [(A, "1"), (B, "x"), (A, "2")]:
        queue.append(job, item)
    assert list(queue.of(A)) == ["1", "2"]
    assert queue.take(A) == deque(["1", "2"]) and not queue.take(A) and len(queue) == 1
    assert drain(queue) == "x"
    with pytest.raises(StopIteration):
        queue.popleft()


@given(
    st.lists(st.tuples(st.sampled_from("append appendleft popleft take".split()), st.sampled_from([A, B, C])))
)
def test_no_item_is_lost_or_doubled(steps: list[tuple[str, bytes]]) -> None:
    queue: RoundRobin[int] = RoundRobin()
    jobs: dict[bytes, deque[int]] = {A: deque(), B: deque(), C: deque()}
    for number, (step, job) in enumerate(steps):
        if step == "take":
            assert queue.take(job) == jobs[job]
            jobs[job].clear()
        elif step != "popleft":
            getattr(queue, step)(job, number)
            getattr(jobs[job], step)(number)
        elif len(queue):
            item = queue.popleft()
            assert item == next(items for items in jobs.values() if item in items).popleft()
        assert len(queue) == sum(len(items) for items in jobs.values()) == len(list(queue))
