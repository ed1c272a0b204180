"""What is due for jobs: each is told once, and only when its time has come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.deadlines import Deadlines, earliest

JOBS = [bytes([i]) * 16 for i in range(6)]


@given(st.lists(st.tuples(st.sampled_from(JOBS), st.integers(0, 50), st.booleans()), max_size=60))
def test_deadlines_are_those_of_a_plain_map(steps: list[tuple[bytes, int, bool]]) -> None:
    deadlines, plain = Deadlines(), dict[bytes, float]()
    for job, at, drop in steps:
        if drop:
            deadlines.drop(job)
            plain.pop(job, None)
        else:
            deadlines.set(job, float(at))
            plain[job] = float(at)
        assert deadlines.first() == min(plain.values(), default=None)
    for now in (10.0, 30.0, 50.0):
        due = deadlines.due(now)
        assert sorted(due) == sorted(job for job, at in plain.items() if at <= now)
        assert [plain[job] for job in due] == sorted(plain[job] for job in due)
        for job in due:
            del plain[job]


def test_deadlines_of_jobs_that_have_ended_take_no_room() -> None:
    deadlines = Deadlines()
    for i in range(10_000):
        deadlines.set(i.to_bytes(16, "big"), 1e9)
        deadlines.drop(i.to_bytes(16, "big"))
    assert len(deadlines._heap) <= 200


def test_a_time_that_is_set_again_and_again_takes_no_room() -> None:
    deadlines = Deadlines()
    for i in range(10_000):
        deadlines.set(JOBS[0], float(i))
    assert len(deadlines._heap) <= 200 and deadlines.due(1e9) == [JOBS[0]]


def test_the_earliest_of_some_times() -> None:
    assert earliest([]) is None and earliest([None, None]) is None
    assert earliest([None, 3.0, 2.0, None, 5.0]) == 2.0
