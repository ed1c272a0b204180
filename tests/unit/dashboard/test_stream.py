"""Traces of workers for viewers: who is asked, how often, and what of it is shown."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pytest

from zturbo.dashboard import stream
from zturbo.dashboard.stream import FRESH, LANES, SPANS, Streams
from zturbo.errors import UsageError, ZturboError
from zturbo.telemetry.ring import SIZE, Ring, copy
from zturbo.telemetry.seen import Task, Traced, Traces

JOB = b"j" * 16


class Broker:
    """Answers for all workers; each has records that ended 1, 2, ... seconds before the answer."""

    def __init__(self, records: int = 3, error: str = "") -> None:
        self.now = 100.0
        self.asked: list[tuple[list[str], int]] = []
        self._records, self._error = records, error

    def look(self, lanes: Sequence[str], reach: int) -> Mapping[str, Traces | ZturboError]:
        self.asked.append((list(lanes), reach))
        if self._error:
            return {lane: UsageError(self._error) for lane in lanes}
        memory = bytearray(SIZE)
        ring = Ring(memory)
        for number in range(self._records, 0, -1):
            ended = 5000.0 - number
            ring.add(
                *(ended - 0.5, ended, 0.25, 0.25, 0.0, 0.0, 2, JOB, (number,), (number, 1), False, 70, 9)
            )
        running = (Task(JOB, 0, (8, 1), 0, 0.75),)
        return {
            lane: Traces(0.0, 5000.0, (Traced(1, b"", 0.0, "", copy(memory), running),)) for lane in lanes
        }

    def clock(self) -> float:
        return self.now


def test_a_window_has_the_spans_that_lie_in_it() -> None:
    broker = Broker()
    streams = Streams(broker.look, broker.clock)
    (lane,) = streams.spans(["a"], 2.4, 1.2)
    assert broker.asked == [(["a"], 3)]
    assert (lane["id"], lane["error"], lane["running"]) == ("a", "", [(JOB.hex(), "8.1", 0.75)])
    assert lane["spans"] == [
        (2.5, 0.5, 0.25, 0.25, 0.0, 0.0, 2, JOB.hex(), "2", "2.1", False, 70, 9),
        (1.5, 0.5, 0.25, 0.25, 0.0, 0.0, 2, JOB.hex(), "1", "1.1", False, 70, 9),
    ]
    broker.now += 1.0
    (lane,) = streams.spans(["a"], 3.0, 2.2)
    assert [span[0] for span in lane["spans"]] == [2.5], "the same span is a second older, and was kept"
    assert len(broker.asked) == 1


def test_a_question_serves_all_who_look_for_a_while() -> None:
    broker = Broker()
    streams = Streams(broker.look, broker.clock)
    for _ in range(5):
        streams.spans(["a", "b", "a"], 10.0, 0.0)
    streams.spans(["b", "c"], 10.0, 0.0)
    streams.spans(["a"], 60.0, 0.0)
    broker.now += FRESH
    streams.spans(["a"], 1e9, -1e9)
    assert broker.asked == [(["a", "b"], 11), (["c"], 11), (["a"], 61), (["a"], stream.REACH + 1)]


def test_what_a_viewer_gets_is_bounded() -> None:
    broker = Broker(records=SPANS + 10)
    found = Streams(broker.look, broker.clock).spans([f"{i}" for i in range(LANES + 9)], 1e6, 0.0)
    assert len(found) == LANES and {len(lane["spans"]) for lane in found} == {SPANS}
    assert [len(lanes) for lanes, _ in broker.asked] == [LANES]
    assert found[0]["spans"][-1][0] == 1.5, "the newest are there"


def test_why_a_worker_has_no_trace_is_told() -> None:
    broker = Broker(error="no node")
    assert Streams(broker.look, broker.clock).spans(["a"], 9.0, 0.0) == [
        {"id": "a", "error": "no node", "running": [], "spans": []}
    ]


def test_one_question_is_on_the_way_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WAIT", 0.01)
    broker = Broker()
    asked, answer = threading.Event(), threading.Event()

    def look(lanes: Sequence[str], reach: int) -> Mapping[str, Traces | ZturboError]:
        asked.set()
        assert answer.wait(20)
        return broker.look(lanes, reach)

    streams = Streams(look, broker.clock)
    first = threading.Thread(target=streams.spans, args=(["a"], 9.0, 0.0))
    first.start()
    try:
        assert asked.wait(20)
        assert streams.spans(["a", "b"], 9.0, 0.0) == [], "it does not wait, and does not ask"
    finally:
        answer.set()
        first.join()
    assert [lane["id"] for lane in streams.spans(["a"], 9.0, 0.0)] == ["a"]
    assert len(broker.asked) == 1
