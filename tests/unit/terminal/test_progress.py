"""What a display asks of the broker."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from zturbo.terminal import progress
from zturbo.terminal.progress import REFRESH, REST, SPARE, Progress

JOB = {"id": "1", "name": "one", "state": "running", "error": None, "waiting": None, "counts": []}


class Clock:
    """For :mod:`time` and :mod:`threading`."""

    def __init__(self) -> None:
        self.now = 0.0

    RLock = staticmethod(threading.RLock)

    def Event(self) -> Any:
        return self

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(progress, "threading", clock)
    return clock


class Known:
    """A broker's answers: the jobs that go on, then those that have ended, the last one first."""

    def __init__(self, clock: Clock, answer: float = 0.0) -> None:
        self.clock = clock
        self.answer = answer
        self.live: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []
        self.asked: list[int] = []

    def describe(self, *, most: int) -> dict[str, Any]:
        if most:
            self.asked.append(most)
            self.clock.now += self.answer
        jobs = [*self.live, *self.ended]
        totals = {"running": len(self.live), "done": len(self.ended)}
        return {"jobs": jobs[:most], "next": int(len(jobs) > most), "totals": totals}

    def run(self, number: int) -> None:
        """Jobs that run."""
        first = len(self.ended)
        self.live = [{**JOB, "id": f"{first + i}", "name": f"job {i}"} for i in range(number)]

    def end(self) -> None:
        """All that run are done."""
        done = [{**job, "state": "done", "results": 1, "failed": 0} for job in self.live]
        self.ended, self.live = [*reversed(done), *self.ended], []


@pytest.mark.parametrize(
    "running, answer, most", [(1, 0.0, 60 / REFRESH), (0, 0.0, 0), (1, 1.0, 60 / (1 + REST))]
)
def test_a_display_takes_a_share_of_the_brokers_time(
    running: int, answer: float, most: float, clock: Clock
) -> None:
    known = Known(clock, answer)
    known.run(running)
    Progress(show=False).follow(known.describe, lambda: clock.now < 60)
    assert most * 0.9 <= len(known.asked) <= most + 1


def test_jobs_that_ended_long_ago_are_not_asked_for_again(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row of a job takes the broker's time."""
    known = Known(clock)
    known.run(400)
    known.end()
    rounds = iter([lambda: None, lambda: None, lambda: known.run(30), known.end, lambda: None])

    def goes_on() -> bool:
        step = next(rounds, None)
        if step is not None:
            step()
        return step is not None

    Progress(show=False).follow(known.describe, goes_on)
    assert known.asked == [400 + SPARE, 30 + SPARE, 30 + SPARE]
    assert capsys.readouterr().err.splitlines() == [
        "400 jobs: done, 400 results",
        "job 0 and 29 other jobs: running",
        "30 jobs: done, 30 results",
    ]
