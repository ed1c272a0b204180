"""Where in a round a loop stands still, it is found out before it looks at what is overdue."""

from __future__ import annotations

import pytest

from zturbo_broker.standstill import LEAST, StandStill


class Loop:
    """A loop with a clock of its own."""

    def __init__(self) -> None:
        self.now = self.cpu = 100.0
        self.told: list[float] = []
        self.still = StandStill(self.told.append, lambda: self.now, lambda: self.cpu)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds

    def stop(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, timeout: float, seconds: float | None = None) -> None:
        self.now += timeout if seconds is None else seconds
        self.still.slept(timeout)


def test_it_is_seen_wherever_it_was() -> None:
    loop = Loop()
    loop.sleep(1.0, 8.0)
    assert loop.told == [pytest.approx(7.0)]
    loop.work(0.1)
    loop.stop(6.0)
    assert loop.still.look() == loop.now
    assert loop.told[1:] == [pytest.approx(6.0)], "before what is overdue is looked at"
    loop.work(0.1)
    assert loop.still.look() == loop.now and len(loop.told) == 2, "once"
    loop.stop(5.0)
    loop.sleep(0.0)
    assert loop.told[2:] == [pytest.approx(5.0)], "after it"


def test_rounds_without_one_are_none() -> None:
    loop = Loop()
    for _ in range(5):
        loop.work(60.0)
        loop.still.look()
        loop.stop(LEAST / 2)
        loop.sleep(30.0)
        loop.sleep(30.0, 0.0)
    assert not loop.told
