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
    window.leave(30, 0)
    assert window.grant(100, 1000)
    assert window.tell() == (140, 1050)


def _told(tasks: int, nbytes: int) -> Window:
    """A window whose sender was told of these limits."""
    window = Window()
    window.grant(tasks, nbytes)
    window.tell()
    return window


def test_a_quarter_of_the_window_is_worth_a_word() -> None:
    window = _told(100, 1000)
    window.leave(24, 249)
    assert not window.grant(100, 1000)
    window.leave(1, 0)
    assert window.grant(100, 1000)
    window.tell()
    window.leave(24, 250)
    assert window.grant(100, 1000)


def test_bytes_that_have_left_are_worth_a_word_also_where_the_share_has_shrunk() -> None:
    window = _told(100, 8000)
    window.leave(1, 250)
    assert window.grant(100, 1000), "their sender keeps them until then"


def test_each_task_is_worth_a_word_where_it_leaves_a_slot() -> None:
    window = _told(8, 1000)
    window.leave(1, 10)
    assert not window.grant(8, 1000)
    assert window.grant(8, 1000, each=True)
    window.tell()
    assert not window.grant(8, 1000, each=True)
