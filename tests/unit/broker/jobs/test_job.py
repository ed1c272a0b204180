"""Where a job's roots lie, and what of a job outlives its broker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo_broker.jobs.job import Chunks, Job


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=20))
def test_chunks_find_each_root(parts: list[tuple[int, int]]) -> None:
    chunks, first = Chunks(), 0
    for n, nbytes in parts:
        chunks.append(first, n, nbytes)
        first += n
    assert (len(chunks), chunks.total) == (len(parts), first)
    assert chunks.nbytes == sum(nbytes for _, nbytes in parts)
    for seq, (n, nbytes) in enumerate(parts):
        at, count, size = chunks[seq]
        assert (count, size) == (n, nbytes)
        assert chunks.find(at) == chunks.find(at + n - 1) == seq


def test_notes_of_a_job_come_back_as_they_were() -> None:
    job = Job(b"j" * 16, "n", "p", b"c" * 16, False, {"max_retry": 2}, b"d")
    job.strikes[(1, (2, 3))] = [(4, "died")]
    job.incidents.append("a worker died")
    job.retries = 1
    job.count(1, 10, 2)
    job.count(1, 5, 1)
    again = Job(b"j" * 16, "n", "p", b"c" * 16, False, {"max_retry": 2}, b"d")
    again.take_notes(job.notes())
    assert again.counted == {1: (15, 3)} and again.strikes == job.strikes and again.retries_left == 1
    assert again.notes() == job.notes()
