"""What a node reads of what its worker runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.runtime.process.running import ENTRIES, GIVEN, HEAD_SIZE, SERIAL, Running, RunningNote

JOB, OTHER = b"j" * 16, b"o" * 16


@pytest.fixture
def ends() -> Iterator[tuple[RunningNote, RunningNote]]:
    """(the worker's, the node's)."""
    fd = RunningNote.make()
    worker, node = RunningNote(os.dup(fd)), RunningNote(fd)
    yield worker, node
    worker.close()
    node.close()


def timeless(node: RunningNote) -> list[Running]:
    """What runs, each task with a time since this test's process began."""
    assert all(0.0 < run.since <= time.monotonic() for run in node.read())
    return [run._replace(since=0.0) for run in node.read()]


def test_one_by_one(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    assert node.read() == []
    worker.begin(JOB, 2, (5,), False)
    worker.task(7)
    worker.numbers[GIVEN] = 3
    assert timeless(node) == [Running(1, JOB, 2, (5, 7), 3)]
    worker.end()
    assert node.read() == []


def test_a_run_of_siblings(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    worker.begin(JOB, 2, (), False)
    worker.task(1)
    serial = worker.run(JOB, 2, (5, 7), 3)
    assert node.read() == node.last() == [], "none of them has begun"
    for k in (7, 8, 9):
        worker.numbers[SERIAL] = serial
        assert timeless(node) == [Running(serial, JOB, 2, (5, k), 0)]
        serial += 1
    worker.numbers[GIVEN] = 3
    worker.end()
    assert node.read() == []
    assert [(run.path, run.given) for run in node.last()] == [((5, 9), 3)]
    worker.begin(JOB, 2, (), False)
    worker.task(4)
    assert [(run.serial, run.path) for run in node.read()] == [(serial, (4,))], "no serial number twice"


def test_a_thread_that_looks_tells_since_when_one_of_many_runs(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    worker.numbers[SERIAL] = worker.run(JOB, 1, (5,), 2)
    began = node.read()[0].since
    worker.seen(began + 1)
    worker.seen(began + 2)
    assert node.read()[0].since == began + 1
    worker.numbers[SERIAL] += 1
    worker.seen(began + 3)
    assert node.read()[0].since == began + 3
    worker.begin(JOB, 1, (), False)
    worker.task(7)
    since = node.read()[0].since
    worker.seen(since + 1)
    assert node.read()[0].since == since, "known exactly"


def test_the_root_alone_is_a_run(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    worker.numbers[SERIAL] = worker.run(JOB, 1, (), 1)
    assert [(run.path, run.given) for run in node.read()] == [((), 0)]


def test_a_batch(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    worker.several(JOB, 1, [(1,), (2, 3)])
    assert timeless(node) == [Running(1, JOB, 1, (1,), 0), Running(1, JOB, 1, (2, 3), 0)]


def test_a_table(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    worker.enter(0, JOB, 1, (1,))
    worker.enter(3, OTHER, 2, ())
    worker.gave(3, 4)
    assert timeless(node) == [
        Running(1, JOB, 1, (1,), 0, beside=True),
        Running(2, OTHER, 2, (), 4, beside=True),
    ]
    worker.leave(0)
    worker.enter(0, JOB, 1, (9, 9))
    assert [(run.serial, run.path) for run in node.read()] == [(3, (9, 9)), (2, ())], "another serial number"


@given(st.binary(min_size=300, max_size=400), st.sampled_from([0, 1, 2, 3, 4]))
def test_memory_that_native_code_has_written_into_tells_nothing_or_something(raw: bytes, kind: int) -> None:
    note = RunningNote(RunningNote.make())
    note._map[:300] = raw[:300]
    note._map[25:26] = bytes([kind])
    note._map[HEAD_SIZE : HEAD_SIZE + 100] = raw[-100:]
    for running in (*note.read(), *note.last()):
        assert isinstance(running.path, tuple)
    note.close()


def test_what_there_is_no_room_for_is_not_noted(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    worker.enter(ENTRIES, JOB, 1, (1,))
    worker.gave(ENTRIES, 4)
    worker.leave(ENTRIES)
    worker.enter(0, JOB, 1, tuple(range(100)))
    assert node.read() == []


def test_the_last_task_stays_noted_when_it_has_ended(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    assert node.last() == []
    worker.begin(JOB, 2, (5,), False)
    worker.task(7)
    worker.numbers[GIVEN] = 3
    assert node.last() == [], "it runs"
    worker.end()
    worker.end()
    assert [run[1:6] for run in node.last()] == [(JOB, 2, (5, 7), 3, False)]
    worker.begin(JOB, 2, (6,), False)
    assert node.last() == [] == node.read(), "nothing that is half written"
    worker.several(JOB, 1, [(1,), (2, 3)])
    worker.end()
    assert [run.path for run in node.last()] == [(1,), (2, 3)]


def test_the_last_task_of_a_table(ends: tuple[RunningNote, RunningNote]) -> None:
    worker, node = ends
    worker.enter(0, JOB, 1, (1,))
    worker.enter(3, OTHER, 2, (2,))
    worker.leave(3)
    assert ([run.path for run in node.read()], node.last()) == ([(1,)], [])
    worker.leave(0)
    assert node.read() == []
    assert [run.path for run in node.last()] == [(2,)], "the one that began last"
