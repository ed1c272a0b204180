"""An input is acked once nothing that came of it is un-acked."""

from __future__ import annotations

from zturbo.core.links.custody import Custody


def test_an_input_is_acked_when_all_that_came_of_it_is() -> None:
    custody: Custody[str] = Custody()
    custody.admit("a", 2)
    custody.hold(["a"])  # a child of the first task is on its way
    custody.release(["a"])  # the first task is finished
    custody.hold(["a"])
    custody.release(["a"])  # the second task is finished
    custody.release(["a"])  # one outbatch is acked
    assert not custody.zeroed and "a" in custody
    custody.hold(["a"])  # the other is split in two: the count goes up before a piece leaves
    custody.release(["a"])
    assert not custody.zeroed
    custody.release(["a"])
    assert custody.zeroed == ["a"] and len(custody) == 0
    custody.release(["a"])  # late, and of no matter
    assert custody.zeroed == ["a"]


def test_an_input_without_tasks_is_acked_at_once() -> None:
    custody: Custody[int] = Custody()
    custody.admit(1, 0)
    assert custody.zeroed == [1]
