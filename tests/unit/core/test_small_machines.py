"""Custody, credit, restarts, intervals, ids: machines of one thought each."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.links.credit import MAX_WINDOW, Meter, Window
from zturbo.core.links.custody import Custody
from zturbo.core.order.by_id import ById
from zturbo.core.order.intervals import Intervals
from zturbo.core.restarts import BROKEN_RETRY, LONGEST, STABLE, Restarts
from zturbo.wire.control.view import Member
from zturbo_broker.jobs.fair_queue import FairQueue
from zturbo_broker.jobs.placement import Placed, Placement, StageInfo


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


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9))), st.integers(0, 70))
def test_intervals_are_a_set(pieces: list[tuple[int, int]], cut: int) -> None:
    intervals, plain = Intervals(), set()
    for start, n in pieces:
        gaps = intervals.missing(start, start + n)
        assert {i for a, b in gaps for i in range(a, b)} == set(range(start, start + n)) - plain
        intervals.add(start, start + n)
        plain |= set(range(start, start + n))
        intervals.check()
    intervals.cut(cut)
    plain = {i for i in plain if i < cut}
    intervals.check()
    assert all((i in intervals) == (i in plain) for i in range(80))
    first = next(i for i in range(100) if i not in plain)
    assert intervals.prefix == first and intervals.covers(first) and not intervals.covers(first + 1)


@given(st.lists(st.integers(0, 40), unique=True), st.randoms())
def test_ids_are_released_in_order_and_gaps_close(ids: list[int], rng: random.Random) -> None:
    order = list(ids)
    rng.shuffle(order)
    byid = ById()
    got = [item for number in order for item in byid.push(number, number)]
    assert got == list(range(len(got)))
    got += byid.flush()
    assert got == sorted(ids) and len(byid) == 0


@pytest.mark.parametrize("wrong", [-1, 0, 2, "0", None, True, 1.0])
def test_wrong_ids_are_refused(wrong: object) -> None:
    byid = ById()
    assert byid.push(0, "zero") == ["zero"]
    assert byid.push(2, "two") == []
    with pytest.raises(ValueError, match="get_sequence_id gave"):
        byid.push(wrong, "wrong")
    assert byid.push(1, "one") == ["one", "two"]


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


def test_turns_go_round_between_clients_then_jobs() -> None:
    queue = FairQueue()
    for name in ("a1", "a2", "a3"):
        queue.add(name.encode(), b"a", 0)
    queue.add(b"b1", b"b", 0)
    turns = [queue.next() for _ in range(8)]
    assert turns.count(b"b1") == 4
    assert {turns.count(name) for name in (b"a1", b"a2", b"a3")} == {1, 2}
    queue.add(b"urgent", b"c", 5)
    assert [queue.next() for _ in range(3)] == [b"urgent"] * 3
    for name in (b"urgent", b"a1", b"a2", b"a3", b"b1", b"b1"):
        queue.remove(name)
    assert queue.next() is None and len(queue) == 0


def test_a_sink_reports_a_stage_that_is_not_deterministic() -> None:
    from zturbo.core.effects import Control
    from zturbo.core.sink.machine import SinkMachine
    from zturbo.wire.control import to_broker
    from zturbo.wire.control.view import View
    from zturbo.wire.messages import Batch, End, Greet, Stamp

    me, broker, job = b"s" * 16, b"b" * 16, b"j" * 16
    sink = SinkMachine(me)
    members = {
        me: Member(me, "sink", "", -1, "h", ()),
        broker: Member(broker, "broker", "", -1, "h", ()),
    }
    sink.view(View(1, members), 0.0)
    sink.data(Greet(broker, me, 1), 0.0)
    for number, count in ((1, 3), (2, 4)):
        stamp = Stamp(job, 1, "p", {}, me) if number == 1 else None
        batch = Batch(job, 1, 1, ends=[End((), count)], stamp=stamp, number=number, source=broker, target=me)
        sink.data(batch, 0.0)
        sink.stored([number], 0.0)
    said = [effect.message for effect in sink.effects if isinstance(effect, Control)]
    (report,) = [message for message in said if isinstance(message, to_broker.JobFailed)]
    assert report.kind == "NondeterministicStage" and "3 children, and then 4" in report.error


def test_failures_that_wait_for_their_order_are_bounded() -> None:
    from zturbo.core.order.tree import Released
    from zturbo.core.worker.waiting import Waiting
    from zturbo.wire.payload import input_fields, pack_error, unpack_error_map

    waiting = Waiting([], 10_000)
    error = pack_error({"stage": "s", **input_fields(bytes(4000), [], None)})
    kept = [waiting.failure(b"j", error) for _ in range(4)]
    assert [unpack_error_map(one)["input"] is not None for one in kept] == [True, True, False, False]
    assert "too many failures wait" in unpack_error_map(kept[3])["note"]
    waiting.no_failure(b"j", kept[0])
    _, fails = waiting.take(b"j", [Released("fail", (1,), 1, kept[1], 0)])
    assert fails == [(0, kept[1], 0)]
    assert waiting.failure(b"j", error) == error, "there is room again"
    waiting.forget(b"j")
    assert waiting.failure(b"k", error) == error


def test_a_child_that_dies_before_it_has_a_task_again_and_again_is_broken() -> None:
    restarts = Restarts()
    waits = [restarts.died(lived=0.1, started=True, worked=False) for _ in range(5)]
    assert waits[-1] == BROKEN_RETRY and restarts.broken and restarts.useless
    assert restarts.died(lived=0.1, started=True, worked=False) == BROKEN_RETRY
    assert restarts.died(lived=0.1, started=True, worked=True) < BROKEN_RETRY and not restarts.broken
