"""Who reaches whom: what the pings of a trial tell, and whom a newcomer is tried with."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.broker.hosts import BOTH, member, numbered
from zturbo.slotted import replace
from zturbo.wire.control.view import Member
from zturbo_broker.members.trials import PATIENCE, Trial, choose

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


def many(n: int, stage: int) -> list[Member]:
    workers = [numbered(member("worker", stage, host=f"{stage}-{k % 10}", ends=BOTH), k) for k in range(n)]
    return [replace(worker, incarnation=bytes([stage, k]) * 8) for k, worker in enumerate(workers)]


def test_a_hundred_newcomers_are_tried_with_a_few_each() -> None:
    there = many(100, 0)
    sink = numbered(member("sink", host="a", ends=BOTH), 200)
    counts: dict[bytes, int] = {}
    for new in many(100, 1):
        chosen = choose(new, [*there, sink], counts, 8)
        assert chosen[0] == sink
        assert len({one.host for one in chosen}) == len(chosen) == 8
    loads = Counter(counts)
    assert loads.pop(sink.incarnation) == 100
    assert sum(loads.values()) == 700 and max(loads.values()) <= 8, "and no worker with many"


def test_only_links_between_hosts_are_tried() -> None:
    new = numbered(member("worker", 1, host="a", ends=BOTH), 1)
    beside = numbered(member("worker", 0, host="a", ends=BOTH), 2)
    peer = numbered(member("worker", 1, host="b", ends=BOTH), 3)
    assert choose(new, [beside, peer], {}, 8) == []


def test_hosts_with_one_name_and_addresses_of_their_own_are_two() -> None:
    new = numbered(member("worker", 1, host="a", ends=BOTH), 1)
    namesake = numbered(member("worker", 0, host="a", ends=("ipc:///x", "tcp://10.0.0.2:7000")), 2)
    private = numbered(member("worker", 0, host="a", ends=("ipc:///x", "tcp://127.0.0.1:7000")), 3)
    assert choose(new, [namesake, private], {}, 8) == [namesake]
