"""Pauses of a sink's sources, while a reader catches up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.sink.pace import HIGH, LONGEST, LOW, MOST_REST, REST, Pace


def test_a_pause_begins_above_one_mark_and_ends_at_another() -> None:
    pace = Pace()
    seen = []
    for nbytes in (HIGH, HIGH + 1, HIGH, LOW + 1, LOW, HIGH, HIGH + 1):
        pace.nbytes = nbytes
        seen.append(pace.pauses(0.0))
    assert seen == [False, True, True, True, False, False, True]


def test_a_pause_that_does_not_help_ends_and_the_next_one_comes_later_each_time() -> None:
    pace = Pace()
    pace.nbytes = HIGH + 1
    now, rest = 0.0, REST
    for _ in range(8):
        assert pace.pauses(now)
        assert pace.deadline() == now + LONGEST
        assert pace.pauses(now + LONGEST / 2)
        now += LONGEST
        assert not pace.pauses(now)
        assert pace.deadline() is None
        assert not pace.pauses(now + rest - 0.001)
        now += rest
        rest = min(MOST_REST, 2 * rest)
    assert pace.pauses(now)
    pace.nbytes = LOW
    assert not pace.pauses(now), "this one has helped"
    pace.nbytes = HIGH + 1
    assert pace.pauses(now)
    assert not pace.pauses(now + LONGEST)
    assert not pace.pauses(now + LONGEST + REST - 0.001)
    assert pace.pauses(now + LONGEST + REST), "so the rest is short again"


def test_a_pause_that_has_helped_a_little_is_followed_by_no_rest() -> None:
    pace = Pace()
    pace.nbytes = HIGH + 1
    assert pace.pauses(0.0)
    pace.nbytes = HIGH
    assert not pace.pauses(LONGEST)
    pace.nbytes = HIGH + 1
    assert pace.pauses(LONGEST)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, HIGH)), max_size=200))
def test_with_a_reader_that_is_gone_hardly_any_time_is_lost(steps: list[tuple[float, int]]) -> None:
    pace = Pace()
    now = paused = 0.0
    for seconds, more in steps:
        pace.nbytes = HIGH + more  # nothing is taken
        at, until = now, now + seconds
        while at < until:
            due = until
            if pace.pauses(at):
                end = pace.deadline()
                assert end is not None and at < end, "it ends by itself"
                due = min(until, end)
                paused += due - at
            at = due
        now = until
    assert paused <= LONGEST * (1 + now / REST)
