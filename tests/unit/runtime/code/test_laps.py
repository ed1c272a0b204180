"""The stop-watch of a worker's main thread."""

from __future__ import annotations

import pytest

from zturbo.runtime.code import laps
from zturbo.runtime.code.laps import CODE, HELD, INPUT, OWN, Laps, Pressure


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(laps, "perf_counter", clock)
    return clock


def test_each_stretch_counts_for_what_went_on(clock: Clock) -> None:
    watch = Laps()
    for kind, seconds in ((CODE, 3.0), (OWN, 1.0), (INPUT, 5.0), (HELD, 2.0), (CODE, 0.5)):
        watch.turn(kind)
        clock.now += seconds
    assert watch.read() == (3.5, 5.0, 2.0, 1.0)


def test_a_turn_tells_what_went_on_before(clock: Clock) -> None:
    watch = Laps()
    assert (watch.turn(CODE), watch.turn(OWN), watch.turn(CODE)) == (OWN, CODE, OWN)


def test_waiting_for_input_while_senders_are_pressed_is_held_back(clock: Clock) -> None:
    pressure = Pressure()
    watch = Laps(pressure.total)
    pressure.note(True, clock.now)
    clock.now += 7.0  # pressed, while the code runs: its time is the code's
    watch.turn(INPUT)
    clock.now += 2.0
    assert watch.read() == (0.0, 0.0, 2.0, 7.0)
    pressure.note(False, clock.now)
    pressure.note(False, clock.now)
    clock.now += 3.0
    watch.turn(CODE)
    assert watch.read() == (0.0, 3.0, 2.0, 7.0)


def test_a_clock_that_does_not_move_changes_nothing(clock: Clock) -> None:
    watch = Laps()
    watch.turn(CODE)
    clock.now -= 1.0
    assert watch.read() == (0.0, 0.0, 0.0, 0.0)


def test_a_thread_without_input_may_do_the_work_of_zturbo(clock: Clock) -> None:
    pressure = Pressure()
    watch = Laps(pressure.total)
    watch.turn(INPUT)
    clock.now += 5.0
    watch.turn(CODE, waited=3.0)
    assert watch.read() == (0.0, 3.0, 0.0, 2.0)
    clock.now += 1.0
    watch.turn(INPUT, waited=0.5)
    assert watch.read() == (1.0, 3.0, 0.0, 2.0), "the code's time is the code's"
    pressure.note(True, clock.now)
    clock.now += 4.0
    watch.turn(OWN, waited=1.0)
    assert watch.read() == (1.0, 3.0, 1.0, 5.0), "held back, as long as it waited"
