"""A job at its sink: its results get an index once, in their order, and keep it when the job starts over."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.sink.jobs import a_batch, a_fail, a_job, enter, stamp
from zturbo.core.sink.job import KnownFailure, ResultIndex, SinkJob, SinkJobState
from zturbo.core.states import ImpossibleTransition
from zturbo.wire.messages import End
from zturbo.wire.payload import pack_many

WORKER = b"w" * 16


def given_out(job: SinkJob) -> list[tuple[int, int]]:
    """(token, index in its batch) of each result; a failure has -1."""
    pieces, fails, own = job.results.between(0, job.released)
    by_index = {index: (token, -1) for index, token, _ in fails} | {index: (0, -1) for index, _ in own}
    tasks = iter([(token, at) for token, start, stop in pieces for at in range(start, stop)])
    return [by_index.get(index) or next(tasks) for index in range(job.released)]


# -- the index of results -----------------------------------------------------------------------
parts = st.one_of(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 5)),
    st.builds(KnownFailure, st.integers(1, 3), st.integers(0, 2), st.none()),
    st.builds(KnownFailure, st.just(0), st.just(0), st.none(), st.binary(max_size=3)),
)


@given(st.lists(parts, max_size=12), st.data())
def test_any_range_of_results_is_found_where_they_were_put(added: list[object], data: st.DataObject) -> None:
    index = ResultIndex()
    model: list[object] = []
    for part in added:
        if isinstance(part, KnownFailure):
            index.fail(part)
            model.append(part)
        else:
            n, token, offset = part  # type: ignore[misc]
            index.add(n, token, offset)
            model += [(token, offset + k) for k in range(n)]
    assert index.count == len(model)
    first = data.draw(st.integers(0, len(model)))
    stop = data.draw(st.integers(first, len(model)))
    pieces, fails, own = index.between(first, stop)
    wanted = list(enumerate(model))[first:stop]
    tasks = [(token, at) for token, low, high in pieces for at in range(low, high)]
    assert tasks == [what for _, what in wanted if not isinstance(what, KnownFailure)]
    failed = [(at, what) for at, what in wanted if isinstance(what, KnownFailure)]
    assert fails == [(at, what.token, what.nth) for at, what in failed if what.token]
    assert own == [(at, what.error) for at, what in failed if not what.token]


def test_neighbours_in_one_batch_take_the_room_of_one() -> None:
    index = ResultIndex()
    for offset in range(1000):
        index.add(1, 5, offset)
    assert len(index.firsts) == 1 and index.between(10, 13) == ([(5, 10, 13)], [], [])
    index.add(1, 5, 2000)
    assert len(index.firsts) == 2, "a gap in the batch begins another one"


# -- in and out ---------------------------------------------------------------------------------
def test_results_are_released_in_the_order_of_paths_whatever_comes_first() -> None:
    job = a_job()
    assert enter(job, 1, a_batch(2, 3, first=2))
    assert job.released == 0 and job.sequencer.buffered == 2
    enter(job, 2, a_batch(0, 1))
    assert given_out(job) == [(2, 0), (2, 1), (1, 0), (1, 1)]


def test_a_copy_changes_nothing() -> None:
    job = a_job()
    for token in (1, 2):
        enter(job, token, a_batch(0, 1, ends=3, fails=(a_fail((2,)),)))
    assert given_out(job) == [(1, 0), (1, 1), (1, -1)]
    assert (job.good, job.failed) == (2, 1)


def test_a_job_is_complete_once_and_says_when() -> None:
    job = a_job()
    enter(job, 1, a_batch(0), 1.0)
    assert (job.complete, job.unconfirmed, job.over) == (False, False, False)
    enter(job, 2, a_batch(ends=1), 7.0)
    assert (job.complete, job.unconfirmed, job.over) == (True, True, True) and job.report_at == 7.0
    enter(job, 3, a_batch(ends=1), 9.0)
    assert job.report_at == 7.0
    job.move(SinkJobState.CONFIRMED)
    assert job.complete and job.confirmed and not job.unconfirmed
    with pytest.raises(ImpossibleTransition, match="epoch 1"):
        a_job().move(SinkJobState.CONFIRMED)


def test_what_no_correct_sender_sends_is_told_and_the_rest_of_the_job_goes_on() -> None:
    job = a_job(order="meta:at")
    batch = a_batch(0)
    batch.n = 5
    assert not enter(job, 1, batch), "five tasks in one byte"
    assert enter(job, 2, a_batch(0, ends=1))
    assert job.complete


@pytest.mark.parametrize(("hold", "before"), [("", 3), ("failures", 1), ("all", 0)])
def test_the_stamp_may_hold_results_back_until_all_is_here(hold: str, before: int) -> None:
    job = a_job(hold=hold)
    batch = a_batch(0, fails=(a_fail((1,)),))
    batch.runs, batch.n, batch.blob = [((0,), 1), ((2,), 1)], 2, pack_many([0, 2])
    enter(job, 1, batch)
    assert job.released == before
    enter(job, 2, a_batch(3, first=3, ends=4))
    if hold == "failures":
        assert (job.released, job.failed, job.over) == (1, 1, False), "a retry may give something else"
        job.stamp = stamp(revision=1)
        job.release()
    assert given_out(job) == [(1, 0), (1, -1), (1, 1), (2, 0)]
    assert job.over


def test_fail_fast_blames_the_first_failure_alone() -> None:
    job = a_job(fail_fast=True)
    assert job.blame is None
    enter(job, 1, a_batch(ends=2, fails=(a_fail((0,)), a_fail((1,), 3))), 4.0)
    assert job.blame is not None and job.blame[0] == "JobFailed" and "task 0)" in job.blame[1]
    assert job.complete and not job.over, "it is about to be ended"


def test_two_fan_outs_of_one_task_are_blamed() -> None:
    job = a_job()
    batch = a_batch()
    batch.ends = [End((1,), 2), End((1,), 3)]
    enter(job, 1, batch)
    assert job.blame is not None and job.blame[0] == "NondeterministicStage"


# -- by a key in the meta -----------------------------------------------------------------------
def test_results_without_a_key_come_as_failures_when_all_is_here() -> None:
    job = a_job(order="meta:at")
    enter(job, 1, a_batch(0, 1))
    assert job.released == 0 and job.failed == 2
    enter(job, 2, a_batch(ends=2))
    assert given_out(job) == [(0, -1), (0, -1)] and (job.good, job.failed) == (0, 2)
    assert job.over


def test_by_a_key_fail_fast_blames_a_result_that_has_none() -> None:
    job = a_job(order="meta:at", fail_fast=True)
    enter(job, 1, a_batch(0, ends=1))
    assert job.blame is not None and "meta" in job.blame[1]


def test_results_without_a_key_are_not_the_last_word_while_a_retry_is_to_come() -> None:
    """Else a reader has all of a job that is about to end as failed."""
    job = a_job(order="meta:at", hold="failures")
    enter(job, 1, a_batch(0, ends=1))
    assert job.complete and (job.released, job.failed, job.over) == (1, 1, False)
    job.start_over(stamp(2, order="meta:at"))
    assert job.over and job.blame is None
    other = a_job(order="meta:at", hold="failures")
    enter(other, 1, a_batch(0, ends=1))
    other.start_over(stamp(2, order="meta:at", fail_fast=True))
    assert not other.over and other.blame is not None


# -- again --------------------------------------------------------------------------------------
def test_a_job_that_starts_over_keeps_what_was_released_and_forgets_the_rest() -> None:
    job = a_job(ordered={0: WORKER})
    enter(job, 1, a_batch(0, 1))
    enter(job, 2, a_batch(5, first=5))
    job.start_over(stamp(2, {0: WORKER}))
    assert job.stamp.epoch == 2 and job.released == 2 and job.sequencer.buffered == 0
    enter(job, 3, a_batch(0, 1, 2, 3, 4, ends=6))
    assert job.released == 5, "the sixth has to come again"
    enter(job, 4, a_batch(5, first=5))
    assert given_out(job) == [(1, 0), (1, 1), (3, 2), (3, 3), (3, 4), (4, 0)]


def test_without_an_ordered_stage_all_that_has_entered_stays() -> None:
    job = a_job()
    enter(job, 1, a_batch(5, first=5))
    job.start_over(stamp(2))
    assert job.sequencer.buffered == 1


def test_a_complete_job_starts_over_only_for_what_was_held_back() -> None:
    job = a_job(hold="failures")
    enter(job, 1, a_batch(0, ends=2, fails=(a_fail((1,)),)))
    job.move(SinkJobState.CONFIRMED)
    job.start_over(stamp(2, hold="failures"))
    assert job.state is SinkJobState.COLLECTING and job.released == 1
    enter(job, 2, a_batch(1, first=1, ends=2))
    assert job.complete and (job.good, job.failed) == (2, 0)


def test_a_broker_that_has_lost_a_jobs_end_is_told_again() -> None:
    job = a_job()
    enter(job, 1, a_batch(0, 1, ends=2))
    job.move(SinkJobState.CONFIRMED)
    job.report_at = 9.0
    job.start_over(stamp(2))
    assert job.unconfirmed and job.report_at == -math.inf and job.released == 2, "all of it is here"


@pytest.mark.parametrize("order", ["path", "roots", "none", "meta:at"])
def test_a_retry_of_what_is_not_deterministic_begins_with_nothing(order: str) -> None:
    """Another run of a task may give another number of results, under paths of their own."""
    job = a_job(hold="success", order=order)
    first = a_batch(0, 1, ends=2, fails=(a_fail((3, 0)),))
    first.runs, first.ends = [((2, 0), 2)], [End((2,), 2), End((3,), 1), End((), 4)]
    first.fails += [a_fail((0,)), a_fail((1,))]
    enter(job, 1, first)
    assert job.complete and (job.released, job.failed, job.over) == (0, 3, False)
    job.start_over(stamp(2, order=order))
    assert job.state is SinkJobState.COLLECTING and (job.released, job.failed) == (0, 0)
    again = a_batch(7, ends=1)
    enter(job, 2, again)
    assert (job.complete, job.released, job.failed) == (True, 1, 1 if order == "meta:at" else 0)


@pytest.mark.parametrize(
    ("order", "hold", "results"),
    [("meta:at", "success", 2), ("path", "failures", 3)],
    ids=["a result without a key", "a stage that was deterministic before"],
)
def test_a_retry_gives_nothing_twice_that_was_given_out(order: str, hold: str, results: int) -> None:
    job = a_job(hold=hold, order=order)
    if hold == "success":
        enter(job, 1, a_batch(0, 1, ends=2))
        assert (job.complete, job.released, job.over) == (True, 2, False), "their failures are the sink's own"
    else:
        enter(job, 1, a_batch(0, 1, ends=3, fails=(a_fail((2,)),)))
        assert job.released == 2
        job.start_over(stamp(2, order=order, hold="success"))
        enter(job, 2, a_batch(0, 1, ends=3, fails=(a_fail((2,)),)))
        assert (job.complete, job.released) == (True, 2)
    job.start_over(stamp(3, order=order))
    enter(job, 3, a_batch(0, 1, 2, ends=3) if hold == "failures" else a_batch(0, 1, ends=2))
    job.release()
    assert job.over and job.released == results


def test_what_is_not_deterministic_and_succeeds_needs_no_retry() -> None:
    job = a_job(hold="success")
    enter(job, 1, a_batch(0, 1, ends=2))
    assert job.over and given_out(job) == [(1, 0), (1, 1)]
    job.start_over(stamp(2, hold="success"))
    assert job.over and job.released == 2, "it has all that it needs"


def test_a_complete_job_has_all_that_it_needs_if_nothing_was_held_back() -> None:
    whole = a_job(ordered={0: WORKER})
    enter(whole, 1, a_batch(0, ends=1))
    whole.start_over(stamp(2, {0: WORKER}))
    assert whole.complete, "it has all that it needs"


# -- what clients have --------------------------------------------------------------------------
def test_the_cursor_goes_forward_and_no_further_than_the_results() -> None:
    job = a_job()
    enter(job, 1, a_batch(*range(8)))
    assert job.unread == job.stored_bytes > 0
    cursors = []
    for index in (3, 1, -2, 99):
        job.take(index)
        cursors.append(job.cursor)
    assert cursors == [3, 3, 3, 8] and job.unread == 0
    assert job.spooled == job.stored_bytes, "what clients have taken stays until it is freed"


def test_the_size_of_what_is_in_the_spool() -> None:
    job = a_job()
    assert job.spooled == 0
    enter(job, 2, a_batch(*range(4), first=4))
    assert job.released == 0 and job.spooled == job.stored_bytes > 0, "it waits for its order"
    enter(job, 1, a_batch(*range(4)))
    assert job.released == 8 and job.spooled == job.stored_bytes
    job.take(2)
    job.free(2)
    assert job.spooled == job.stored_bytes * 6 // 8


def test_of_a_job_that_has_started_over_nothing_unsafe_is_given_out() -> None:
    job = a_job()
    enter(job, 1, a_batch(0, 1))
    job.shown = 1
    job.unsafe.add(1)
    assert (job.servable, job.over) == (1, False)
    job.unsafe.clear()
    assert job.servable == 2
