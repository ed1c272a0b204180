"""An outbatch is cut between tasks, and nothing of it is lost or doubled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.links.outbatch import OutBatch, cut, cut_runs, paths, split
from zturbo.wire.messages import Batch, End, PathRun
from zturbo.wire.payload import pack_many, unpack_many

runs_of = st.lists(
    st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple), st.integers(1, 5)), max_size=5
)


@given(runs_of, st.integers(0, 30), st.integers(0, 30))
def test_cut_runs_are_those_of_these_tasks(runs: list[PathRun], start: int, stop: int) -> None:
    assert list(paths(cut_runs(runs, start, stop))) == list(paths(runs))[start:stop]


def batch(n: int) -> Batch:
    contents = pack_many(list(range(n)))
    return Batch(b"j" * 16, 1, 0, [((3,), n)], n, contents, None, [], ends=[End((), n)])


@given(st.integers(1, 9), st.integers(0, 9))
def test_both_parts_have_all_tasks_and_the_first_has_the_records(n: int, index: int) -> None:
    whole = OutBatch.of(batch(n), ("p", 0), (("a", 1),))
    if index >= n:
        return
    first, second = cut(whole, index)
    contents = [*unpack_many(first.batch.blob, index), *unpack_many(second.batch.blob, n - index)]
    assert contents == list(range(n))
    assert [*paths(first.batch.runs), *paths(second.batch.runs)] == [(3 + k,) for k in range(n)]
    assert first.batch.ends == whole.batch.ends and not second.batch.ends
    assert first.size + second.size == whole.size and first.origins == second.origins == whole.origins


def test_contents_with_buffers_are_not_cut() -> None:
    whole = batch(2)
    whole.buffers = [b"x" * 100]
    assert split(OutBatch.of(whole, ("p", 0)), 2) is None
    parts = split(OutBatch.of(batch(2), ("p", 0)), 2)
    assert parts is not None and [part.batch.n for part in parts] == [1, 1], "an END counts as a task"
