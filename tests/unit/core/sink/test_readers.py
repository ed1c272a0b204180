"""Clients read a job's results by index, one reader at a time; what is said twice does no harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.sink.jobs import JOB, ME, a_batch, a_fail, a_job, enter
from zturbo.core.counts import EndedJobs
from zturbo.core.effects import Deliver, Effect, Free, Note
from zturbo.core.sink.job import SinkJob
from zturbo.core.sink.readers import MAX_SEGMENT, MAX_VIEWERS, MAX_WAITING, NOTE_CURSOR, Readers
from zturbo.wire.messages import PUSHED_RESULTS, READ_ONCE, Results, Want

ANN, BOB = b"ann", b"bob"


class Sink:
    """Readers of a sink that has one job, or none yet."""

    def __init__(self, job: SinkJob | None = None) -> None:
        self.effects: list[Effect] = []
        self.jobs = {} if job is None else {JOB: job}
        self.ended = EndedJobs(ME)
        self.readers = Readers(self.jobs, self.ended, self.effects)

    def ask(
        self, client: bytes, token: int, first: int, limit: int, taken: int = 0, now: float = 0.0
    ) -> list[tuple[bytes, Results]]:
        """What clients get for this question."""
        if self.readers.want(client, Want(JOB, token, first, limit, taken), now):
            self.readers.serve(self.jobs[JOB])
        return self.got()

    def got(self) -> list[tuple[bytes, Results]]:
        given = [effect for effect in self.effects if isinstance(effect, Deliver)]
        self.effects.clear()
        return [(effect.client, effect.results) for effect in given]


def ten(complete: bool = True) -> SinkJob:
    """A job with ten results, which may be all."""
    job = a_job()
    enter(job, 1, a_batch(*range(10), ends=10 if complete else None))
    return job


def indices(given: list[tuple[bytes, Results]]) -> list[int]:
    return [index for _, results in given for index in range(results.first, results.first + results.n)]


def test_results_below_the_limit_are_given_once_and_the_total_with_the_last() -> None:
    sink = Sink(ten())
    assert indices(sink.ask(ANN, 1, 0, 4)) == [0, 1, 2, 3]
    sink.readers.serve(sink.jobs[JOB])
    assert sink.got() == [], "no more without another question"
    ((client, rest),) = sink.ask(ANN, 1, 4, 100)
    assert (client, rest.first, rest.n, rest.total) == (ANN, 4, 6, 10)
    sink.readers.serve(sink.jobs[JOB])
    assert sink.got() == []


def test_who_has_all_results_before_the_end_is_known_is_told_the_total_then() -> None:
    sink = Sink(ten(complete=False))
    ((_, all_of_it),) = sink.ask(ANN, 1, 0, 100)
    assert (all_of_it.n, all_of_it.total) == (10, None)
    enter(sink.jobs[JOB], 2, a_batch(ends=10))
    sink.readers.serve(sink.jobs[JOB])
    ((_, end),) = sink.got()
    assert (end.first, end.n, end.total) == (10, 0, 10)


def test_the_same_limit_again_means_that_what_was_sent_is_lost() -> None:
    sink = Sink(ten())
    sink.ask(ANN, 1, 0, 6)
    assert indices(sink.ask(ANN, 1, 2, 6)) == [2, 3, 4, 5]
    assert indices(sink.ask(ANN, 1, 2, 8)) == [6, 7], "a higher limit means that it is on its way"


def test_a_client_may_begin_where_the_one_before_it_ended() -> None:
    sink = Sink(ten())
    sink.ask(ANN, 1, 0, 6)
    sink.ask(ANN, 1, 6, 6, taken=5)
    given = sink.ask(BOB, 2, -1, 3)
    assert [client for client, results in given if results.n] == [BOB] and indices(given) == [5, 6, 7]


def test_a_later_reader_takes_over_and_the_earlier_one_hears_so_once() -> None:
    sink = Sink(ten())
    sink.ask(ANN, 1, 0, 2)
    told, served = sink.ask(BOB, 2, 0, 2)
    assert (told[0], told[1].problem, told[1].token) == (ANN, "superseded", 1)
    assert (served[0], served[1].problem, served[1].n) == (BOB, None, 2)
    ((client, refused),) = sink.ask(ANN, 1, 2, 9)
    assert (client, refused.problem, refused.n) == (ANN, "superseded", 0)
    assert sink.jobs[JOB].reader is not None and sink.jobs[JOB].reader.client == BOB


def test_who_asks_before_the_job_is_here_is_served_when_it_comes() -> None:
    sink = Sink()
    assert sink.ask(ANN, 1, 0, 3) == sink.ask(ANN, 1, 0, 4) == sink.ask(BOB, 2, 0, 5) == []
    assert sink.readers.begin(JOB) == [(ANN, Want(JOB, 1, 0, 4)), (BOB, Want(JOB, 2, 0, 5))]
    assert sink.readers.begin(JOB) == [], "once"


def test_jobs_that_nobody_knows_are_not_remembered_without_end() -> None:
    sink = Sink()
    names = [number.to_bytes(8, "big") + b"some job" for number in range(MAX_WAITING + 5)]
    for name in names:
        sink.readers.want(ANN, Want(name, 1, 0, 1), 0.0)
    waiting = [name for name in names if sink.readers.begin(name)]
    assert waiting == names[5:], "the latest are: the client of another one asks again"


def test_results_of_an_ended_job_are_refused_with_the_reason() -> None:
    job = ten()
    sink = Sink(job)
    sink.ask(ANN, 1, 0, 2)
    sink.readers.end(job)
    ((client, told),) = sink.got()
    assert client == ANN and "not kept" in str(told.problem)
    del sink.jobs[JOB]
    sink.ended.add(JOB, None, 0.0)
    ((client, told),) = sink.ask(BOB, 2, 0, 2)
    assert client == BOB and "not kept" in str(told.problem)
    sink.readers.end(a_job())
    assert sink.got() == [], "there is nobody to tell"


def test_the_cursor_is_noted_in_the_spool_now_and_then() -> None:
    sink = Sink(ten())
    for now, taken in ((10.0, 3), (10.0 + NOTE_CURSOR / 2, 4), (10.0 + NOTE_CURSOR, 5), (20.0, 5)):
        sink.readers.want(ANN, Want(JOB, 1, 0, 9, taken), now)
    assert [effect for effect in sink.effects if isinstance(effect, Note)] == [
        Note(JOB, None, 3),
        Note(JOB, None, 5),
    ]


def test_results_that_are_read_once_go_when_they_are_taken() -> None:
    job = a_job()
    enter(job, 7, a_batch(0, 1, fails=(a_fail((2,)),)))
    enter(job, 8, a_batch(3, 4, 5, first=3))
    sink = Sink(job)
    for taken in (1, 1, 5, 99):
        sink.readers.want(ANN, Want(JOB, 1, 5, 9, taken, once=True), 0.0)
    assert [effect for effect in sink.effects if isinstance(effect, Free)] == [
        Free(JOB, 1, [(7, 0, 1)]),
        Free(JOB, 5, [(7, 1, 2), (8, 0, 2)]),
        Free(JOB, 6, [(8, 2, 3)]),
    ]


def test_results_that_were_let_go_are_refused() -> None:
    sink = Sink(ten())
    sink.readers.want(ANN, Want(JOB, 1, 3, 3, 3, once=True), 0.0)
    sink.effects.clear()
    assert indices(sink.ask(BOB, 2, 2, 9)) == [2, 3, 4, 5, 6, 7, 8], "they are all here still"
    sink.jobs[JOB].gone = 3
    ((client, refused),) = sink.ask(BOB, 3, 2, 9)
    assert (client, refused.problem, refused.n) == (BOB, READ_ONCE, 0)
    sink.readers.is_viewer = lambda client: True
    ((client, refused),) = sink.ask(BOB, 4, 0, 9)
    assert (client, refused.problem) == (BOB, READ_ONCE)
    sink.readers.is_viewer = lambda client: False
    assert indices(sink.ask(BOB, 5, 3, 9)) == [3, 4, 5, 6, 7, 8], "what comes after them is here"


def test_results_stay_if_nobody_says_that_they_may_go() -> None:
    sink = Sink(ten())
    sink.ask(ANN, 1, 8, 9, taken=8)
    assert sink.jobs[JOB].freed == 0
    assert indices(sink.ask(BOB, 2, 0, 2)) == [0, 1]


def test_many_results_come_in_several_messages() -> None:
    job = a_job()
    enter(job, 1, a_batch(*range(2 * MAX_SEGMENT + 1)))
    given = Sink(job).ask(ANN, 1, 0, 1 << 30)
    assert [results.n for _, results in given] == [MAX_SEGMENT, MAX_SEGMENT, 1]


def test_a_message_ends_where_a_batch_does() -> None:
    job, two_thirds = a_job(), 2 * MAX_SEGMENT // 3
    enter(job, 1, a_batch(*range(two_thirds)))
    enter(job, 2, a_batch(*range(two_thirds), first=two_thirds))
    given = Sink(job).ask(ANN, 1, 0, 1 << 30)
    assert [(results.first, results.n) for _, results in given] == [(0, two_thirds), (two_thirds, two_thirds)]


def test_a_failure_at_the_end_of_a_full_message_is_in_it() -> None:
    job, half = a_job(), MAX_SEGMENT // 2
    enter(job, 1, a_batch(*range(half)))
    enter(job, 2, a_batch(*range(half - 1), first=half, fails=(a_fail((MAX_SEGMENT - 1,)),)))
    enter(job, 3, a_batch(1, 2, 3, first=MAX_SEGMENT))
    given = Sink(job).ask(ANN, 1, 0, 1 << 30)
    assert [results.n for _, results in given] == [MAX_SEGMENT, 3]


def test_failures_are_told_by_where_they_lie() -> None:
    job = a_job()
    enter(job, 7, a_batch(0, 1, fails=(a_fail((2,)),)))
    sink = Sink(job)
    assert sink.readers.want(ANN, Want(JOB, 1, 0, 9), 0.0)
    sink.readers.serve(job)
    (effect,) = sink.effects
    assert isinstance(effect, Deliver)
    assert (effect.pieces, effect.fails, effect.results.fails) == ([(7, 0, 2)], [(2, 7, 0)], [])


@pytest.mark.parametrize("taken", [-5, 11, 1 << 60])
def test_a_cursor_beyond_the_results_is_not_believed(taken: int) -> None:
    sink = Sink(ten())
    sink.ask(ANN, 1, 0, 9, taken=taken)
    assert 0 <= sink.jobs[JOB].cursor <= 10


wants = st.tuples(
    st.sampled_from([ANN, BOB]),
    st.integers(0, 3),
    st.integers(-1, 12),
    st.integers(0, 14),
    st.integers(0, 12),
)


@given(st.lists(wants, max_size=12))
def test_whatever_is_asked_only_results_that_are_there_are_given(
    asked: list[tuple[bytes, int, int, int, int]],
) -> None:
    """And only below the highest limit that this reader asked for, if no reader is later."""
    sink = Sink(ten())
    limits: dict[tuple[int, bytes], int] = {}
    for client, token, first, limit, taken in asked:
        cursor = sink.jobs[JOB].cursor
        limits[token, client] = max(limits.get((token, client), 0), limit + (cursor if first < 0 else 0))
        latest = max(token for token, _ in limits)
        for to, results in sink.ask(client, token, first, limit, taken):
            assert results.problem or (to, results.token) == (client, token) == (client, latest)
            assert results.n == 0 or results.first + results.n <= min(10, limits[token, client])
            assert results.total in (None, 10)
        assert sink.jobs[JOB].cursor >= cursor, "it never goes back"


def pushed(n: int, complete: bool = True) -> tuple[Sink, SinkJob]:
    """A job whose stamp names its first reader."""
    job = a_job(reader=b"A" * 16, token=5)
    enter(job, 1, a_batch(*range(n), ends=n if complete else None))
    sink = Sink(job)
    sink.readers.serve(job)
    return sink, job


def test_few_results_are_given_unasked_once_all_are_here() -> None:
    sink, job = pushed(3)
    ((client, results),) = sink.got()
    assert (client, results.token, results.n, results.total) == (b"A" * 16, 5, 3, 3)
    sink.readers.serve(job)
    assert sink.got() == []
    assert job.cursor == 0, "nobody has taken them"


@pytest.mark.parametrize("n, complete", [(PUSHED_RESULTS + 1, True), (3, False)])
def test_many_results_or_a_part_of_them_are_not(n: int, complete: bool) -> None:
    sink, _ = pushed(n, complete)
    assert sink.got() == []


def test_large_results_are_not_given_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zturbo.core.sink.job.PUSHED_BYTES", 1)
    sink, _ = pushed(3)
    assert sink.got() == []


def test_what_was_given_unasked_and_lost_is_given_again_to_who_asks() -> None:
    sink, _ = pushed(3)
    sink.got()
    assert indices(sink.ask(b"A" * 16, 5, 0, 64)) == [0, 1, 2]


def test_a_reader_that_asks_gets_results_as_they_come() -> None:
    sink, _ = pushed(3, complete=False)
    assert indices(sink.ask(b"A" * 16, 5, 0, 64)) == [0, 1, 2]


def test_results_are_not_given_unasked_to_who_was_superseded() -> None:
    sink, job = pushed(3, complete=False)
    assert indices(sink.ask(BOB, 6, 0, 64)) == [0, 1, 2]
    enter(job, 2, a_batch(ends=3))
    sink.readers.serve(job)
    assert [client for client, _ in sink.got()] == [BOB]


def test_a_viewer_takes_nothing_away() -> None:
    sink = Sink(ten())
    sink.readers.is_viewer = lambda client: client == BOB
    assert indices(sink.ask(ANN, 1, 0, 4, taken=0)) == [0, 1, 2, 3]
    assert indices(sink.ask(BOB, 9, 0, 6, taken=6)) == [0, 1, 2, 3, 4, 5]
    assert sink.jobs[JOB].cursor == 0
    given = sink.ask(ANN, 1, 4, 10, taken=4)
    assert indices(given) == [4, 5, 6, 7, 8, 9] and {client for client, _ in given} == {ANN}
    assert sink.jobs[JOB].cursor == 4
    assert indices(sink.ask(BOB, 10, -1, 2)) == [4, 5], "from where the reader is"
    sink.readers.end(sink.jobs[JOB])
    assert {client for client, results in sink.got() if results.problem} == {ANN, BOB}


def test_viewers_are_few() -> None:
    sink = Sink(ten())
    sink.readers.is_viewer = lambda client: True
    for number in range(MAX_VIEWERS):
        assert sink.ask(bytes([number]), 1, 0, 1)
    ((client, refused), (other, first)) = sink.ask(b"new", 1, 0, 1)
    assert (client, refused.problem, other, first.n) == (bytes([0]), "superseded", b"new", 1)


def test_who_may_not_read_is_told_and_changes_nothing() -> None:
    """Also if it has asked before the job was here, and whatever number of a reader it names."""
    sink = Sink()
    sink.readers.may_read = lambda client, owner: client == ANN
    assert sink.ask(BOB, 1 << 60, 0, 10) == []
    sink.jobs[JOB] = ten()
    for client, want in sink.readers.begin(JOB):
        assert not sink.readers.want(client, want, 0.0)
    ((client, refused),) = sink.got()
    assert (client, refused.problem) == (BOB, "the job was submitted under another key")
    assert indices(sink.ask(ANN, 1, 0, 2)) == [0, 1]
