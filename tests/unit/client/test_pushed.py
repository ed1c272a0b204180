"""Results that came unasked wait for their reader, as many as there is room for."""

from __future__ import annotations

import pytest

from zturbo.client import pushed as module
from zturbo.client.pushed import Pushed
from zturbo.wire.messages import Results

SINK = b"S" * 16


def job(i: int) -> bytes:
    return i.to_bytes(16, "big")


def some(i: int, token: int = 1, problem: str | None = None) -> Results:
    return Results(job(i), token, 0, 1, b"x", total=1, problem=problem)


def test_a_reader_gets_what_came_before_it_once() -> None:
    pushed = Pushed()
    pushed.expect(job(0), 1, SINK)
    assert pushed.sink_of(job(0)) == SINK and pushed.sink_of(job(1)) == b""
    pushed.take(some(0), 10)
    assert pushed.give(job(0)) == (1, [(some(0), 10)])
    assert pushed.give(job(0)) is None and pushed.nbytes == 0


@pytest.mark.parametrize("results", [some(1), some(0, token=2), some(0, problem="superseded")])
def test_what_is_not_expected_is_dropped(results: Results) -> None:
    pushed = Pushed()
    pushed.expect(job(0), 1, SINK)
    pushed.take(results, 10)
    assert pushed.give(job(0)) == (1, [])


def test_results_that_nobody_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_JOBS", 10)
    monkeypatch.setattr(module, "MOST_BYTES", 25)
    pushed = Pushed()
    for i in range(100):
        pushed.expect(job(i), 1, SINK)
        pushed.take(some(i), 10)
        assert len(pushed) <= 10 and pushed.nbytes <= 25
    assert pushed.give(job(0)) is None
    assert pushed.give(job(99)) == (1, [(some(99), 10)])


def test_jobs_whose_results_have_not_come_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_JOBS", 3)
    pushed = Pushed()
    for i in range(3):
        pushed.expect(job(i), 1, SINK)
    pushed.expect(job(0), 1, SINK)
    assert pushed.unfinished == 3
    pushed.take(Results(job(0), 1, 0, 1, b"x"), 10)
    assert pushed.unfinished == 3, "a part of them"
    pushed.take(Results(job(0), 1, 1, 1, b"x", total=2), 10)
    pushed.take(Results(job(0), 1, 1, 1, b"x", total=2), 10)
    assert pushed.unfinished == 2
    pushed.give(job(0))
    pushed.give(job(1))
    assert pushed.unfinished == 1
    for i in range(4, 8):
        pushed.expect(job(i), 1, SINK)
    assert pushed.unfinished == len(pushed) == 3
