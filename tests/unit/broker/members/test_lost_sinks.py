"""How long a lost sink is waited for."""

from __future__ import annotations

import pytest

from zturbo_broker.members.lost_sinks import PATIENCE, LostSinks

OLD, NEW, NODE, OTHER = b"old", b"new", b"node", b"other"


@pytest.fixture
def lost() -> LostSinks:
    sinks = LostSinks(grace=10.0)
    sinks.seen(OLD, NODE, "sink-0")
    sinks.add(OLD, 100.0)
    return sinks


def test_without_a_word_from_its_node_only_the_grace(lost: LostSinks) -> None:
    assert lost.deadline() == 110.0
    assert lost.given_up(109.9) == []
    assert OLD in lost
    assert lost.given_up(110.0) == [OLD]
    assert OLD not in lost


def test_while_its_node_is_heard_it_has_time(lost: LostSinks) -> None:
    lost.hear(NODE, 108.0)
    lost.hear(OTHER, 115.0)
    assert lost.given_up(117.9) == []
    assert lost.given_up(118.0) == [OLD]


def test_but_not_for_ever(lost: LostSinks) -> None:
    for second in range(101, 300):
        lost.hear(NODE, float(second))
    assert lost.given_up(100.0 + PATIENCE - 0.1) == []
    assert lost.given_up(100.0 + PATIENCE) == [OLD]


def test_a_new_spool_in_its_place_ends_the_wait(lost: LostSinks) -> None:
    lost.seen(NEW, NODE, "sink-1")
    lost.seen(NEW, OTHER, "sink-0")
    assert lost.given_up(101.0) == [], "another's"
    lost.seen(NEW, NODE, "sink-0")
    assert lost.given_up(101.0) == [OLD]


def test_it_is_back(lost: LostSinks) -> None:
    lost.seen(OLD, NODE, "sink-0")
    lost.back(OLD)
    assert OLD not in lost
    assert lost.deadline() is None
    assert lost.given_up(1000.0) == []


def test_a_sink_of_before_the_brokers_restart() -> None:
    sinks = LostSinks(grace=10.0)
    sinks.add(OLD, 100.0)
    sinks.hear(NODE, 109.0)
    assert sinks.given_up(110.0) == [OLD]
