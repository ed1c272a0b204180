"""A worker's queue: suspects are set aside, what is not started can be given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.worker.queue import InputQueue, Slice
from zturbo.wire.messages import Batch, Path


def batch(number: int, n: int) -> Batch:
    out = Batch(b"j" * 16, 1, 0, [((0,), n)], n, bytes(n))
    out.source, out.number = b"s" * 16, number
    return out


def tasks(part: Slice) -> list[tuple[int, int]]:
    return [(part.batch.number, task) for task in range(part.start, part.stop)]


@given(st.lists(st.integers(1, 6), max_size=5), st.sets(st.integers(0, 6)))
def test_each_task_runs_once_and_suspects_run_alone_at_the_end(sizes: list[int], bad: set[int]) -> None:
    queue = InputQueue()
    for number, n in enumerate(sizes, 1):
        queue.add(batch(number, n))
    suspects: set[Path] = {(k,) for k in bad}
    ran = []
    while (part := queue.next(lambda job: suspects)) is not None:
        queue.check()
        assert not bad & set(range(part.start, part.stop))
        ran += tasks(part)
    while (part := queue.next_alone()) is not None:
        assert part.n == 1 and part.start in bad
        ran += tasks(part)
    assert sorted(ran) == [(number, k) for number, n in enumerate(sizes, 1) for k in range(n)]
    assert queue.tasks == 0 and not queue


def test_suspects_stay_where_the_rest_is_given_back() -> None:
    queue = InputQueue()
    queue.add(batch(1, 4))
    first = queue.next(lambda job: {(1,)})
    assert first is not None and tasks(first) == [(1, 0)]
    assert [tasks(part) for part in queue.give_back()] == [[(1, 2), (1, 3)]]
    assert [tasks(part) for part in queue.parts()] == [[(1, 1)]]
    assert [tasks(part) for part in queue.drop_job(b"j" * 16)] == [[(1, 1)]] and queue.tasks == 0
