"""Records of a trace, their ring, and the document that is made of them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.telemetry.traced import check_events
from zturbo.telemetry import ring
from zturbo.telemetry.chrome import Track, document
from zturbo.telemetry.ring import SIZE, Record, Ring, copy, read_records

JOB, OTHER = b"j" * 16, b"o" * 16


def record(began: float, code: float = 0.0, waited: float = 0.0, **more: Any) -> Record:
    fields = {"held": 0.0, "own": 0.0, "tasks": 1, "job": JOB, "first": (0,), "last": (4,), "several": False}
    return Record(began, began + code + waited, code, waited, **{**fields, **more})


def test_a_ring_has_the_newest_records() -> None:
    memory = bytearray(SIZE)
    writer = Ring(memory)
    assert list(read_records(bytes(memory))) == []
    assert len(copy(memory)) == 16
    more = {"several": True, "taken": 1 << 70, "given": 5, "failed": 1 << 20, "memory": 1 << 40}
    writer.add(*record(1.0, 0.5, 0.25, first=(1, 2, 3, 4), last=(), **more))
    kept = {**more, "taken": (1 << 64) - 1, "failed": (1 << 16) - 1}
    assert list(read_records(copy(memory))) == [record(1.0, 0.5, 0.25, first=(1, 2, 3), last=(), **kept)]
    for number in range(ring.RECORDS + 5):
        writer.add(*record(10.0 + number, 0.5))
    found = list(read_records(bytes(memory)))
    assert len(found) == ring.RECORDS and list(read_records(copy(memory))) == found
    assert [found[0].began, found[-1].began] == [15.0, 14.0 + ring.RECORDS]


@pytest.mark.parametrize("written", [0, 3, ring.RECORDS - 1, ring.RECORDS, ring.RECORDS + 2])
@pytest.mark.parametrize("recent", [0, 1, 3, 5, ring.RECORDS, ring.RECORDS + 9])
def test_a_copy_has_what_ended_after_a_time(written: int, recent: int) -> None:
    memory = bytearray(SIZE)
    writer = Ring(memory)
    for number in range(written):
        writer.add(*record(10.0 + number, 0.5))
    since = 10.0 + written - recent
    found = list(read_records(copy(memory, since)))
    assert found == [one for one in read_records(bytes(memory)) if one.ended > since]
    assert len(found) == min(written, recent, ring.RECORDS)


@given(st.binary(max_size=400), st.integers(0, 1 << 64))
def test_memory_that_code_has_written_into_gives_what_makes_sense(raw: bytes, count: int) -> None:
    for one in read_records(count.to_bytes(9, "little")[:8] + bytes(8) + raw):
        assert math.isfinite(one.began) and one.ended >= one.began and one.code >= 0


def track(stage: int, pid: int, *records: Record, **more: Any) -> Track:
    return Track("p", stage, f"p.{'abc'[stage]}", "h", pid, list(records), 1000.0, **more)


def made(*tracks: Track, **more: Any) -> list[dict[str, Any]]:
    text = json.dumps(document(tracks, **more), allow_nan=False)
    events: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    check_events(events)
    return events


def test_each_worker_is_a_track_with_slices() -> None:
    events = made(track(0, 7, record(1.0, 0.5, 0.25, own=0.0)), track(1, 8, record(2.0, 0.0, 1.0)))
    names = {e["args"]["name"] for e in events if e["name"] in ("process_name", "thread_name")}
    assert names == {"p.a", "p.b", "h:7", "h:8"}
    slices = [(e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert slices == [
        ("waiting for input", 1001.0e6, 0.25e6),
        ("code", 1001.25e6, 0.5e6),
        ("waiting for input", 1002.0e6, 1e6),
    ]


def test_arrows_follow_a_task_to_the_next_stage() -> None:
    events = made(
        track(0, 7, record(1.0, 0.5, first=(0,), last=(4,)), record(2.0, 0.5, first=(5,), last=(9,))),
        track(1, 8, record(3.0, 0.5, first=(3, 1), last=(4,)), record(4.0, 0.5, first=(7,), last=(7,))),
        track(2, 9, record(5.0, 0.5, job=OTHER)),
    )
    starts = {e["id"]: e["ts"] for e in events if e["ph"] == "s"}
    ends = {e["id"]: e["ts"] for e in events if e["ph"] == "f"}
    pairs = sorted((int(starts[one] / 1e6), int(ends[one] / 1e6)) for one in starts)
    assert pairs == [(1001, 1003), (1002, 1004)], "each from the span that has its root"


def test_what_is_too_old_or_of_another_job_is_left_out() -> None:
    tracks = track(0, 7, record(1.0, 0.5), record(5.0, 0.5, 0.25, job=OTHER))
    slices = [e["name"] for e in made(tracks, since=1003.0, job=JOB) if e["ph"] == "X"]
    assert slices == ["waiting for input"]


def test_deaths_events_and_tasks_that_run_are_shown() -> None:
    dead = track(0, 7, record(1.0, 0.5), died=1002.0, how="SIGKILL")
    alive = track(0, 8, running=[(JOB, (3,), 2.5)], until=1010.0)
    line = {"at": 1003.0, "source": "broker", "level": "WARNING", "text": "</script> starts over"}
    events = made(dead, alive, events=[line])
    assert {e["name"] for e in events if e["ph"] == "i"} == {"died: SIGKILL", "</script> starts over"}
    (still,) = [e for e in events if e["name"] == "code, not finished"]
    assert (still["ts"], still["dur"], still["args"]["path"]) == (1007.5e6, 2.5e6, "3")


def test_memory_is_a_counter_where_it_changes() -> None:
    sizes = enumerate([0, 5000, 5000, 7000])
    events = made(track(0, 7, *(record(1.0 + number, 0.5, memory=size) for number, size in sizes)))
    counters = [(e["name"], e["ts"], e["args"]) for e in events if e["ph"] == "C"]
    assert counters == [
        ("memory of h:7", 1002_500_000, {"bytes": 5000}),
        ("memory of h:7", 1004_500_000, {"bytes": 7000}),
    ]


PARTS = st.tuples(*[st.floats(0.0, 0.3) for _ in range(4)])


@given(
    st.lists(st.tuples(PARTS, st.integers(0, 9)), min_size=1, max_size=30),
    st.lists(st.tuples(PARTS, st.integers(0, 9)), max_size=30),
    st.lists(st.sampled_from([0.0, 0.2, 0.9, 5.0]), max_size=3),
    st.floats(1.7e9, 1.9e9),
)
def test_viewers_can_show_all_slices_and_arrows(
    above: list[Any], below: list[Any], running: list[float], offset: float
) -> None:
    """With times of today, of which a float of microseconds keeps a quarter of one."""
    tracks = []
    for stage, spans in enumerate((above, below)):
        memory = bytearray(SIZE)
        writer, at = Ring(memory), 1.0
        for (code, waited, held, own), root in spans:
            ended = at + code + waited + held + own
            writer.add(at, ended, code, waited, held, own, 1, JOB, (root,), (root,), False)
            at = ended
        tasks = [(JOB, (number,), seconds) for number, seconds in enumerate(running)]
        more = {"offset": offset, "running": tasks, "until": offset + at}
        tracks.append(track(stage, stage, *read_records(copy(memory)))._replace(**more))
    events = made(*tracks)
    still = [event for event in events if event["name"] == "code, not finished"]
    assert len(still) == 2 * sum(seconds > 0.001 for seconds in running)
