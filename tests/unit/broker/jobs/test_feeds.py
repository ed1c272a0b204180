"""Jobs of a client that has gone silent are told once."""

from __future__ import annotations

from zturbo_broker.jobs.feeds import Feeds

JOBS = [bytes([i]) * 16 for i in range(6)]


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
