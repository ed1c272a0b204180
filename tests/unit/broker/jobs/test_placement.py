"""A job gets the least loaded workers, or is told what it waits for."""

from __future__ import annotations

from zturbo.wire.control.view import Member
from zturbo_broker.jobs.placement import Placed, Placement, StageInfo


def member(name: str, slots: int = 0) -> Member:
    return Member(name.ljust(16).encode(), "worker", "p", 0, "h", (), slots=slots, ordered=True)


def test_placement_takes_the_least_loaded_and_says_what_is_missing() -> None:
    placement = Placement()
    stages = [StageInfo("plain", False), StageInfo("track", True)]
    a, b = member("a", 1), member("b", 1)
    plain, sink = member("w"), member("sink")
    assert placement.place("p", stages, [[], [a, b]], [sink]) == "a worker of stage p.plain"
    assert placement.place("p", stages, [[plain], [a, b]], []) == "a sink"
    first = placement.place("p", stages, [[plain], [a, b]], [sink])
    second = placement.place("p", stages, [[plain], [a, b]], [sink])
    assert isinstance(first, Placed) and isinstance(second, Placed)
    assert {first.ordered[1], second.ordered[1]} == {a.incarnation, b.incarnation}
    third = placement.place("p", stages, [[plain], [a, b]], [sink])
    assert isinstance(third, str) and third.startswith("a free slot at stage p.track")
    placement.free(first)
    assert isinstance(placement.place("p", stages, [[plain], [a, b]], [sink]), Placed)
    placement.free(second)
