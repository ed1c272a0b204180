"""Credit follows the measured rate, and a limit never falls."""

from __future__ import annotations

from zturbo.core.links.credit import MAX_WINDOW, Meter, Window


def test_the_window_follows_the_rate() -> None:
    meter = Meter()
    assert meter.window() == 1
    meter.add(1000, 0.001)
    assert meter.window() == MAX_WINDOW and not meter.slow
    for _ in range(50):
        meter.add(1, 0.005)
    assert 8 <= meter.window() <= 12
    for _ in range(50):
        meter.add(1, 1.0)
    assert meter.window() == 1 and meter.slow


def test_limits_never_fall() -> None:
    window = Window()
    window.grant(100, 1000)
    window.grant(1, 1)
    assert window.tell() == (100, 1000)
    window.leave(10, 50)
    assert not window.grant(95, 990), "five more are not worth a word"
    assert window.grant(100, 1000) is False or window.limit_tasks == 110
    window.leave(40, 0)
    assert window.grant(100, 1000)
    assert window.tell() == (150, 1050)


def test_half_of_the_tasks_or_a_quarter_of_the_bytes_is_worth_a_word() -> None:
    window = Window()
    window.grant(100, 1000)
    window.tell()
    window.leave(49, 249)
    assert not window.grant(100, 1000)
    window.leave(0, 1)
    assert window.grant(100, 1000)
    window.tell()
    window.leave(49, 0)
    assert not window.grant(100, 1000)
    window.leave(1, 0)
    assert window.grant(100, 1000)
