"""Spans of a stop-watch's laps."""

from __future__ import annotations

from zturbo.runtime.code.recorder import PARTED, SPAN, Recorder
from zturbo.telemetry.ring import SIZE, Ring, read_records
from zturbo.wire.messages import Batch, PathRun

JOB, OTHER = b"j" * 16, b"o" * 16


def piece(runs: list[PathRun], start: int, stop: int, nbytes: int = 0) -> tuple[Batch, int, int]:
    return Batch(JOB, 0, 0, runs, sum(n for _, n in runs), b"x" * nbytes), start, stop


def test_quick_work_is_recorded_together_and_long_work_by_itself() -> None:
    memory, finished = bytearray(SIZE), 0
    recorder = Recorder(Ring(memory), 1.0, lambda: finished)
    assert recorder.due == 1.0 + SPAN
    recorder.work(JOB, [piece([((2,), 5), ((9,), 1)], 1, 6, 536)])
    recorder.given += 70
    finished = 5
    recorder.record(1.015, (0.01, 0.005, 0.0, 0.0), 1.025, (0.02, 0.005, 0.0, 0.0))
    recorder.record(1.03, (0.02, 0.005, 0.0, 0.005), 3.03, (0.02, 2.005, 0.0, 0.005))
    recorder.work(JOB, [piece([((7,), 1)], 0, 1, 10)])
    recorder.work(OTHER, [piece([((), 1)], 0, 1, 20)])
    recorder.record(3.03, (0.02, 2.005, 0.0, 0.005), 4.03, (1.02, 2.005, 0.0, 0.005))
    one, two, three, four = read_records(bytes(memory))
    assert (one.job, one.first, one.last, one.tasks, one.several) == (JOB, (3,), (9,), 5, False)
    assert (one.taken, one.given) == (446, 70), "five of six tasks, which have 536 bytes"
    assert (two.taken, two.given, three.taken, four.taken, four.given) == (0, 0, 0, 30, 0)
    assert abs(one.code - 0.02) < 1e-6 and one.ended == 1.025
    assert (two.ended, three.began, three.ended, round(three.input, 3)) == (1.03, 1.03, 3.03, 2.0)
    assert not any(three.job) and three.tasks == 0
    assert (four.began, four.job, four.first, four.last, four.several) == (3.03, OTHER, (7,), (), True)


def test_quick_work_of_another_job_has_a_span_of_its_own() -> None:
    memory, finished, failed = bytearray(SIZE), 0, 0
    recorder = Recorder(Ring(memory), 1.0, lambda: finished, lambda: failed)
    assert not recorder.owes
    recorder.work(JOB, [piece([((2,), 1)], 0, 1, 10)])
    assert recorder.owes
    finished, failed = 1, 1
    recorder.work(OTHER, [piece([((), 1)], 0, 1, 20)])
    assert recorder.due <= 1.006, "the next turn of the stop-watch ends the span"
    recorder.record(1.005, (0.005, 0.0, 0.0, 0.0), 1.006, (0.005, 0.0, 0.0, 0.001))
    assert recorder.owes
    finished = 2
    recorder.record(1.025, (0.01, 0.0, 0.0, 0.001), 1.03, (0.02, 0.0, 0.0, 0.001))
    assert not recorder.owes
    one, two = read_records(bytes(memory))
    assert (one.job, one.first, one.last, one.tasks, one.failed, one.several) == (
        JOB,
        (2,),
        (2,),
        1,
        1,
        False,
    )
    assert (two.job, two.first, two.last, two.tasks, two.failed, two.several) == (OTHER, (), (), 1, 0, False)
    assert one.taken < two.taken and (one.ended, two.began) == (1.006, 1.006)


def test_quick_work_before_a_pause_is_not_taken_for_the_next_jobs() -> None:
    memory = bytearray(SIZE)
    recorder = Recorder(Ring(memory), 1.0)
    recorder.work(JOB, [piece([((2,), 1)], 0, 1)])
    recorder.work(OTHER, [piece([((5,), 1)], 0, 1)])
    recorder.record(1.005, (0.005, 0.0, 0.0, 0.0), 3.005, (0.005, 2.0, 0.0, 0.0))
    recorder.record(3.005, (0.005, 2.0, 0.0, 0.0), 4.005, (1.005, 2.0, 0.0, 0.0))
    found = [(one.job, one.first, round(one.code, 3)) for one in read_records(bytes(memory))]
    assert found == [(JOB, (2,), 0.005), (b"\0" * 16, (), 0.0), (OTHER, (5,), 1.0)]


def test_the_number_of_parted_spans_is_bounded() -> None:
    memory = bytearray(SIZE)
    recorder, now = Recorder(Ring(memory), 1.0), 1.0
    for number in range(5 * PARTED):
        recorder.work((JOB, OTHER)[number % 2], [piece([((number,), 1)], 0, 1)])
        now += 0.0001
        if now >= recorder.due:
            recorder.record(now - 0.0001, (now - 1.0, 0.0, 0.0, 0.0), now, (now - 1.0, 0.0, 0.0, 0.0001))
    found = list(read_records(bytes(memory)))
    assert PARTED <= len(found) <= PARTED + 2
    assert [one.first for one in found[:3]] == [(0,), (1,), (2,)]
    assert [one.several for one in found[:3]] == [False] * 3 and any(one.several for one in found)


def test_the_memory_of_the_process_is_looked_at_once_a_second() -> None:
    memory, sizes = bytearray(SIZE), iter(range(1, 100))
    recorder = Recorder(Ring(memory), 1.0, memory=lambda: next(sizes))
    for number in range(1, 26):
        now = 1.0 + number / 10
        recorder.record(now - 0.1, (0.0, now - 1.1, 0.0, 0.0), now, (0.0, now - 1.0, 0.0, 0.0))
    found = [one.memory for one in read_records(bytes(memory))]
    assert found[0] == 1 and found[-1] == 3 and found == sorted(found), "at 1.1, 2.1 and 3.1 or soon after"
