"""Time-outs of jobs: each is told once, and only those that are over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo_broker.jobs.timeouts import Deadlines, Feeds

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


def test_a_silent_client_loses_all_jobs_that_it_feeds() -> None:
    feeds = Feeds(60.0)
    feeds.open(b"a", JOBS[0], 0.0)
    feeds.open(b"b", JOBS[1], 10.0)
    feeds.open(b"a", JOBS[2], 20.0)
    assert feeds.first() == 70.0, "the one that is silent for longest"
    feeds.heard(b"b", 40.0)
    feeds.heard(b"c", 41.0)
    assert feeds.first() == 80.0 and feeds.due(79.0) == []
    assert feeds.due(80.0) == [JOBS[0], JOBS[2]] and feeds.due(80.0) == []
    feeds.close(b"b", JOBS[1])
    assert feeds.first() is None and feeds.due(1e9) == []
