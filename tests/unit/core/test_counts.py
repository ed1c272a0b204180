"""A member says its last counts of each job that has ended, as often as it is told so, in few messages."""

from __future__ import annotations

import pytest

from zturbo.core import counts
from zturbo.core.counts import SAY_AFTER, EndedJobs
from zturbo.core.effects import Control
from zturbo.wire.control import to_broker

ME, A, B = (name * 16 for name in (b"m", b"a", b"b"))


def said(controls: list[Control]) -> list[dict[bytes, tuple[int, int, int]]]:
    """The counts of each message."""
    messages = [control.message for control in controls]
    assert all(isinstance(message, to_broker.LastCounts) for message in messages)
    assert all(message.incarnation == ME for message in messages)  # type: ignore[attr-defined]
    return [dict(message.counts) for message in messages]  # type: ignore[attr-defined]


def test_jobs_that_end_together_are_told_together() -> None:
    ended = EndedJobs(ME)
    assert ended.deadline() is None and ended.say(9.0) == []
    ended.add(A, (2, 10, 1), 1.0)
    ended.add(B, (1, 5, 0), 1.0 + SAY_AFTER / 2)
    assert ended.deadline() == 1.0 + SAY_AFTER, "the second one does not put it off"
    assert ended.say(1.0) == []
    assert said(ended.say(1.0 + SAY_AFTER)) == [{A: (2, 10, 1), B: (1, 5, 0)}]
    assert ended.deadline() is None and ended.say(9.0) == []


def test_a_broker_that_asks_again_gets_the_same_counts() -> None:
    ended = EndedJobs(ME)
    ended.add(A, (2, 10, 1), 0.0)
    ended.say(1.0)
    ended.add(A, None, 5.0)
    assert said(ended.say(6.0)) == [{A: (2, 10, 1)}]


def test_of_a_job_that_never_was_here_nothing_was_counted() -> None:
    ended = EndedJobs(ME)
    ended.add(A, None, 0.0)
    assert said(ended.say(1.0)) == [{A: (0, 0, 0)}]


def test_an_ended_job_is_known_as_such_among_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "REMEMBERED", 2)
    ended = EndedJobs(ME)
    for job in (A, B, A, ME):
        ended.add(job, None, 0.0)
    assert (A in ended, B in ended, ME in ended) == (True, False, True), "A ended last but one"


def test_a_message_has_no_more_jobs_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "AT_ONCE", 3)
    ended = EndedJobs(ME)
    names = [bytes([k]) * 16 for k in range(7)]
    for job in names:
        ended.add(job, (1, 1, 0), 0.0)
    parts = said(ended.say(1.0))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [job for part in parts for job in part] == names
