"""How long a child waits before it is started again, and when it is broken."""

from __future__ import annotations

from zturbo.core.restarts import BROKEN_RETRY, LONGEST, STABLE, Restarts


def test_a_child_that_dies_again_and_again_waits_longer() -> None:
    restarts = Restarts()
    waits = [restarts.died(lived=1.0, started=True) for _ in range(12)]
    assert waits[0] == 0.0 and waits[1] == 0.1 and waits[-1] == LONGEST
    assert waits == sorted(waits) and not restarts.broken
    assert restarts.died(lived=STABLE, started=True) == 0.0


def test_a_child_that_cannot_start_is_broken_until_it_does() -> None:
    restarts = Restarts()
    waits = [restarts.died(lived=0.1, started=False) for _ in range(3)]
    assert 0 < waits[0] <= waits[1] < waits[2] == BROKEN_RETRY and restarts.broken
    restarts.died(lived=1.0, started=True)
    assert not restarts.broken


def test_a_child_that_dies_before_it_has_a_task_again_and_again_is_broken() -> None:
    restarts = Restarts()
    waits = [restarts.died(lived=0.1, started=True, worked=False) for _ in range(5)]
    assert waits[-1] == BROKEN_RETRY and restarts.broken and restarts.useless
    assert restarts.died(lived=0.1, started=True, worked=False) == BROKEN_RETRY
    assert restarts.died(lived=0.1, started=True, worked=True) < BROKEN_RETRY and not restarts.broken
