"""Spans of a stop-watch's laps."""

from __future__ import annotations

from zturbo.runtime.code.recorder import SPAN, Recorder
from zturbo.telemetry.ring import SIZE, Ring, read_records

JOB, OTHER = b"j" * 16, b"o" * 16


def test_quick_work_is_recorded_together_and_long_work_by_itself() -> None:
    memory, finished = bytearray(SIZE), 0
    recorder = Recorder(Ring(memory), 1.0, lambda: finished)
    assert recorder.due == 1.0 + SPAN
    recorder.work(JOB, [((2,), 5), ((9,), 1)], 1, [((2,), 5), ((9,), 1)], 6)
    finished = 5
    recorder.record(1.015, (0.01, 0.005, 0.0, 0.0), 1.025, (0.02, 0.005, 0.0, 0.0))
    recorder.record(1.03, (0.02, 0.005, 0.0, 0.005), 3.03, (0.02, 2.005, 0.0, 0.005))
    recorder.work(JOB, [((7,), 1)], 0, [((7,), 1)], 1)
    recorder.work(OTHER, [((), 1)], 0, [((), 1)], 1)
    recorder.record(3.03, (0.02, 2.005, 0.0, 0.005), 4.03, (1.02, 2.005, 0.0, 0.005))
    one, two, three, four = read_records(bytes(memory))
    assert (one.job, one.first, one.last, one.tasks, one.several) == (JOB, (3,), (9,), 5, False)
    assert abs(one.code - 0.02) < 1e-6 and one.ended == 1.025
    assert (two.ended, three.began, three.ended, round(three.input, 3)) == (1.03, 1.03, 3.03, 2.0)
    assert not any(three.job) and three.tasks == 0
    assert (four.began, four.job, four.first, four.last, four.several) == (3.03, OTHER, (7,), (), True)
