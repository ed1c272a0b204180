"""What a display asks of the broker."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo.terminal import progress
from zturbo.terminal.progress import IDLE, REFRESH, REST, Progress

JOB = {"id": "1", "name": "one", "state": "running", "error": None, "waiting": None, "counts": []}


@pytest.mark.parametrize(
    "jobs_there, answer, most",
    [([JOB], 0.0, 60 / REFRESH), ([], 0.0, 60 / IDLE), ([JOB], 1.0, 60 / (1 + REST))],
)
def test_a_display_takes_a_share_of_the_brokers_time(
    jobs_there: list[dict[str, object]], answer: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    asked = 0

    class Clock:
        """For :mod:`time` and :mod:`threading`."""

        def Event(self) -> Any:
            return self

        def monotonic(self) -> float:
            return now

        def wait(self, seconds: float) -> None:
            nonlocal now
            now += seconds

    def describe(*, most: int) -> dict[str, object]:
        nonlocal now, asked
        now += answer
        asked += 1
        return {"jobs": jobs_there[:most], "next": 0}

    shown = Progress(show=False)
    monkeypatch.setattr(progress, "time", Clock())
    monkeypatch.setattr(progress, "threading", Clock())
    shown.follow(describe, lambda: now < 60)
    assert most * 0.9 <= asked <= most + 1
