"""A reader takes each result once and in order, whatever gets lost or comes twice."""

from __future__ import annotations

import pytest

from zturbo.core.result_stream import AGAIN_AFTER, SAY_BYTES, ResultStream
from zturbo.wire.messages import PUSHED_BYTES, PUSHED_RESULTS, Results

JOB = b"j" * 16


def results(first: int, n: int, total: int | None = None, token: int = 1, **more: object) -> Results:
    return Results(JOB, token, first, n, bytes(n), total=total, **more)  # type: ignore[arg-type]


def test_copies_are_skipped_and_a_gap_is_asked_for_at_once() -> None:
    stream = ResultStream(JOB, 1, 0)
    want = stream.want(0.0)
    assert want is not None and want.first == 0
    assert stream.results(results(0, 10), 100, 0.1) == 0
    assert stream.results(results(5, 10), 100, 0.2) == 5, "the first five are here"
    assert stream.results(results(0, 10), 100, 0.3) is None, "all ten are"
    assert stream.results(results(20, 5), 50, 0.4) is None and stream.deadline() == 0.4
    again = stream.want(0.4)
    assert again is not None and again.first == 15
    assert stream.results(results(15, 5, total=20), 50, 0.5) == 0 and stream.complete
    assert stream.want(9.0) is None and stream.deadline() is None


def test_a_gap_is_asked_for_once_however_much_comes_behind_it() -> None:
    stream = ResultStream(JOB, 1, 0)
    assert stream.want(0.0) is not None
    asked = 0
    for first in range(3, 40):  # the first message is lost; many are on the way
        assert stream.results(results(first, 1), 10, 0.1) is None
        asked += stream.want(0.1) is not None
    assert asked == 1, "all of them come again: a question for each would bring each of them many times"
    assert stream.want(0.1 + AGAIN_AFTER) is not None, "the answer was lost too"
    assert stream.results(results(0, 3), 10, 1.2) == 0
    assert stream.results(results(5, 1), 10, 1.3) is None and stream.want(1.3) is not None, "another gap"
    stream.restart()
    assert stream.want(1.3) is not None
    assert stream.results(results(5, 1), 10, 1.4) is None and stream.want(1.4) is not None, "of another sink"


def test_another_readers_results_are_none_of_ours() -> None:
    stream = ResultStream(JOB, 1, 0)
    assert stream.results(results(0, 1, token=2), 9, 0.0) is None and stream.next == 0


def test_silence_asks_again_and_a_new_sink_is_asked_from_where_the_reader_stands() -> None:
    stream = ResultStream(JOB, 1, -1)
    assert stream.want(0.0) is not None and stream.want(0.1) is None
    assert stream.want(AGAIN_AFTER) is not None
    assert stream.results(results(7, 2), 20, 1.1) == 0 and stream.next == 9, "the sink's cursor was 7"
    stream.restart()
    want = stream.want(1.2)
    assert want is not None and want.first == 9


def test_the_sink_is_told_of_large_results_long_before_it_is_asked_for_more() -> None:
    stream = ResultStream(JOB, 1, 0)
    want = stream.want(0.0)
    assert want is not None
    size = SAY_BYTES // 4 + 1
    for index in range(3):
        assert stream.results(results(index, 1), size, 0.1) == 0 and stream.want(0.1) is None
    assert stream.results(results(3, 1), size, 0.1) == 0
    told = stream.want(0.1)
    assert told is not None and told.first == 4, "it has four, and the sink may let them go"
    assert told.limit == want.limit - 1, "the same limit would mean that results were lost"
    assert stream.want(0.1) is None, "it has said so"


def test_a_caller_that_takes_what_has_come_makes_room_though_no_message_comes() -> None:
    """All that was asked for came before the caller took any of it, so no message is on its way."""
    stream = ResultStream(JOB, 1, 0)
    first = stream.want(0.0)
    assert first is not None and not stream.drained, "none of it has come"
    assert stream.results(results(0, first.limit - 1), 100, 0.1) == 0
    stream.taken = first.limit - 1
    assert not stream.drained, "one more is on its way, and who gets it asks for more"
    assert stream.results(results(first.limit - 1, 1), 100, 0.1) == 0
    window = stream.window
    stream.taken = first.limit - window
    assert not stream.drained and stream.want(0.1) is None, "as many as it may have wait for the caller"
    stream.taken += window // 4
    assert stream.drained
    more = stream.want(0.1)
    assert more is not None and more.limit == stream.taken + window
    assert not stream.drained, "it has asked"


def test_a_stream_that_has_all_its_results_is_not_drained() -> None:
    stream = ResultStream(JOB, 1, 0)
    want = stream.want(0.0)
    assert want is not None
    assert stream.results(results(0, want.limit, total=want.limit), 100, 0.1) == 0
    stream.taken = want.limit
    assert not stream.drained


@pytest.mark.parametrize("size", [1 << 20, SAY_BYTES, 4 * SAY_BYTES])
def test_a_reader_that_takes_none_gets_a_window_of_large_results(size: int) -> None:
    stream = ResultStream(JOB, 1, 0)
    want = stream.want(0.0)
    assert want is not None
    limit = want.limit
    for index in range(limit):
        assert stream.results(results(index, 1), size, 0.1) == 0
        told = stream.want(0.1)
        assert told is None or index < told.limit <= limit
    again = stream.want(0.2 + AGAIN_AFTER)
    assert again is not None and (again.first, again.limit) == (limit, limit)


@pytest.mark.parametrize(
    "buffers, tell, said", [([], False, False), ([], True, True), ([b"large"], False, True)]
)
def test_the_last_word_is_said_where_the_caller_has_to_or_the_sink_keeps_large_results(
    buffers: list[bytes], tell: bool, said: bool
) -> None:
    stream = ResultStream(JOB, 1, 0)
    want = stream.want(0.0)
    assert want is not None
    assert stream.results(results(0, 1, total=1, buffers=buffers), 10, 0.1) == 0
    stream.taken = 1
    last = stream.last_word(tell=tell)
    assert (last is not None) is said
    if last is not None:
        assert last.first == last.limit == 1, "it has this one, and asks for nothing"
        assert last.taken == (1 if tell else 0), "another reader may go on where this caller began"


def test_who_has_asked_for_nothing_has_no_last_word() -> None:
    stream = ResultStream(JOB, 1, 0)
    assert stream.results(results(0, 1, total=1, buffers=[b"large"]), 10, 0.1) == 0, "it came unasked"
    assert stream.last_word(tell=True) is None


def test_large_results_are_not_like_those_that_come_unasked() -> None:
    stream = ResultStream(JOB, 1, 0)
    assert stream.small
    assert stream.results(results(0, PUSHED_RESULTS), PUSHED_BYTES, 0.1) == 0 and stream.small
    assert stream.results(results(PUSHED_RESULTS, 1), 0, 0.1) == 0 and not stream.small, "one too many"
    other = ResultStream(JOB, 1, 0)
    assert other.results(results(0, 1), PUSHED_BYTES + 1, 0.1) == 0 and not other.small
