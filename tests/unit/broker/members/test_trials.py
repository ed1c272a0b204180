"""Who reaches whom: what the pings of a trial tell, and whom a newcomer is tried with."""

from __future__ import annotations

import pytest

from tests.unit.broker.hosts import BOTH, member, numbered
from zturbo_broker.members.trials import PATIENCE, Trial

A = numbered(member("worker", 0, host="a", ends=BOTH), 1)
B = numbered(member("worker", 1, host="b", ends=BOTH), 2)
ONE, TWO = A.incarnation, B.incarnation


def asked(trial: Trial, now: float) -> set[tuple[bytes, bytes]]:
    return {(who.incarnation, one.incarnation) for who, whom in trial.asks(now) for one in whom}


def test_each_end_is_asked_until_its_ping_has_come() -> None:
    trial = Trial(1, [(A, B)], 0.0)
    assert asked(trial, 0.0) == {(ONE, TWO), (TWO, ONE)}
    assert asked(trial, 0.1) == set(), "not so soon again"
    trial.came(ONE, TWO, 0.1)
    assert not trial.over(0.1)
    assert asked(trial, 1.0) == {(TWO, ONE)}
    trial.came(TWO, ONE, 1.0)
    assert trial.over(1.0) and trial.works(ONE, TWO, 1.0)
    assert asked(trial, 2.0) == set() and trial.deadline() is None, "or the broker would not sleep"


def test_a_direction_in_which_nothing_comes_is_broken() -> None:
    trial = Trial(1, [(A, B)], 0.0)
    for who in (ONE, TWO):
        trial.awake(who, 0.1)
    trial.came(ONE, TWO, 0.1)
    assert trial.reaches(TWO, ONE, 0.2) is None, "it may still come"
    assert not trial.over(PATIENCE - 0.1)
    assert trial.over(PATIENCE)
    assert trial.reaches(ONE, TWO, PATIENCE) is True
    assert trial.reaches(TWO, ONE, PATIENCE) is False
    assert trial.works(ONE, TWO, PATIENCE) is trial.works(TWO, ONE, PATIENCE) is False


@pytest.mark.parametrize("late", [[], [ONE], [TWO]])
def test_a_process_that_is_not_awake_proves_nothing(late: list[bytes]) -> None:
    trial = Trial(1, [(A, B)], 0.0)
    for who in late:
        trial.awake(who, 0.1)
    for who in (ONE, TWO):
        trial.awake(who, PATIENCE - 0.1)
    assert trial.works(ONE, TWO, PATIENCE + 10.0) is None


def test_nobody_else_is_told_of() -> None:
    trial = Trial(1, [(A, B)], 0.0)
    for who in (ONE, TWO, b"c" * 16):
        trial.awake(who, 0.1)
    assert trial.works(ONE, b"c" * 16, PATIENCE) is None
