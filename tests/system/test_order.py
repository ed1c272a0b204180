"""Order by ids that the user gives: in meta, for results; by ``get_sequence_id``, before an ordered stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from threading import Event
from typing import Any

import numpy as np
import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, ReorderStage, Stage, Task
from zturbo.errors import JobFailed, TaskError, UsageError
from zturbo.system.debug import DebugPipeline, run_debug

ABSENT = "absent"


class Frames(Stage):
    """A list of ids gives a task for each, with the id in its meta; its content is its place in the list."""

    def process(self, task: Task) -> Iterator[Task]:
        for place, frame in enumerate(task.content):
            yield Task(place, {} if frame == ABSENT else {"frame": frame})


class Frame(Stage):
    """One frame; the content is its id. 13 fails, 14 is dropped."""

    def process(self, task: Task) -> Task | None:
        if task.content == 13:
            raise ValueError("no thirteen here")
        return None if task.content == 14 else Task(task.content, {"frame": task.content})


class Each(Stage):
    """Each of a list; its content is its place. 13 fails."""

    def process(self, task: Task) -> Task:
        if task.meta["frame"] == 13:
            raise ValueError("no thirteen here")
        return task


class Sort(ReorderStage):
    """Numbers what comes."""

    interleave = True

    def reset(self) -> None:
        self.before = 0

    def get_sequence_id(self, task: Task) -> int:
        if task.meta.get("frame") == "raise":
            raise RuntimeError("no id today")
        frame: int = task.meta["frame"]
        return frame

    def process(self, task: Task) -> Task:
        self.before += 1
        return Task([task.content, self.before - 1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    here = "tests.system.test_order"
    frames, sort = stage("frames", f"{here}:Frames"), stage("sort", f"{here}:Sort")
    pipelines = {"list": [frames], "each": [stage("frame", f"{here}:Frame", 2)], "sort": [frames, sort]}
    pipelines["each-of"] = [frames, stage("each", f"{here}:Each", 2)]
    with Cluster(pipelines, order="meta:frame") as running:
        yield running


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as running:
        yield running


def real(client: Client, pipeline: str, frames: Any, **options: Any) -> list[Any]:
    """Contents, and errors without where they happened."""
    handle = client.submit(Job("job", Task(frames)), pipeline=pipeline, **options)
    return [outcome(task) for task in handle.tasks()]


def outcome(task: Task) -> Any:
    return task.content if task.success else str(task.error).split(" (in ")[0]


def refused(why: str) -> str:
    return f"ValueError: {why}"


MISSING = refused("meta has no 'frame', by which the results are ordered")
CASES: dict[str, tuple[list[Any], list[Any]]] = {
    "in order": ([0, 1, 2], [0, 1, 2]),
    "reversed": ([3, 2, 1, 0], [3, 2, 1, 0]),
    "gaps": ([9, 0, 5], [1, 2, 0]),
    "numpy": ([np.int64(2), np.uint8(1), 0], [2, 1, 0]),
    "large": ([1 << 70, 0], [1, 0]),
    "missing": ([1, ABSENT, 0], [2, 0, MISSING]),
    "negative": ([1, -1, 0], [2, 0, refused("meta['frame'] is -1, which is negative")]),
    "text": (["1", 0], [1, refused("meta['frame'] is '1', which is no int")]),
    "bool": ([True, 0], [1, refused("meta['frame'] is True, which is no int")]),
    "none": ([None, 0], [1, refused("meta['frame'] is None, which is no int")]),
    "float": ([np.float32(1), 0], [1, refused("meta['frame'] is no int")]),
    "repeated": (
        [0, 2, 2, 0, 1],
        [0, 4, 1, *(refused(f"meta['frame'] is {k} for the second time") for k in (2, 0))],
    ),
    "all of it": ([ABSENT] * 2, [MISSING] * 2),
    "nothing": ([], []),
}
"""Frames -> what is given. What has no place in the order comes when all has entered, before gaps close."""


@pytest.mark.parametrize("name", CASES)
def test_by_a_key_in_meta(client: Client, name: str) -> None:
    frames, expected = CASES[name]
    debug = [outcome(task) for task in DebugPipeline([Frames]).run(Task(frames), order="meta:frame")]
    assert debug == expected
    assert real(client, "list", frames) == expected
    assert real(client, "list", frames, durability="memory") == expected


def test_results_come_as_soon_as_the_order_allows(client: Client) -> None:
    three_are_here = Event()

    def frames() -> Iterator[int]:
        yield from (2, 1, 0)
        three_are_here.wait()
        yield 3

    with closing(client.map(frames(), pipeline="each")) as results:  # type: ignore[type-var]
        try:
            assert [next(results) for _ in range(3)] == [0, 1, 2]
        finally:
            three_are_here.set()
        assert list(results) == [3]


def test_many_roots_in_any_order_with_failures_and_drops(client: Client) -> None:
    frames = [int(k) for k in np.random.default_rng(5).permutation(2000)]
    wanted = [k for k in range(2000) if k not in (13, 14)]
    results = list(client.map(frames, pipeline="each", on_error="return"))
    error = results.pop(13)
    assert isinstance(error, TaskError) and "no thirteen here" in str(error)
    assert results == wanted
    by_path = list(client.map(frames, pipeline="each", order="path", on_error="skip"))
    assert by_path == [k for k in frames if k not in (13, 14)]
    assert sorted(client.map(frames, pipeline="each", ordered=False, on_error="skip")) == wanted


@pytest.mark.parametrize("order", ["roots", "none"])
def test_a_job_of_one_root(client: Client, order: str) -> None:
    """With order ``roots`` it waited for ever: its root has no other to be ordered with."""
    assert real(client, "each", 12, order=order) == [12]
    assert real(client, "each", 13, order=order) == ["ValueError: no thirteen here"]
    assert real(client, "each", 14, order=order) == []
    several = real(client, "each-of", [5, 13, 7], order=order)
    expected = real(client, "each-of", [5, 13, 7], order="path")
    assert sorted(several, key=str) == sorted(expected, key=str) and (order == "none" or several == expected)


def test_a_retry_gives_what_has_no_place_once(client: Client) -> None:
    frames, expected = CASES["missing"]
    assert real(client, "list", frames, max_retry=2) == expected
    assert real(client, "each-of", [12, 13, 0, "x"], max_retry=1) == [
        2,
        "ValueError: no thirteen here",
        refused("meta['frame'] is 'x', which is no int"),
        0,
    ]


@pytest.mark.parametrize("name", ["missing", "negative", "repeated", "all of it"])
def test_what_has_no_place_ends_a_job_that_fails_fast(client: Client, name: str) -> None:
    frames, expected = CASES[name]
    job = client.submit(Job("job", Task(frames)), pipeline="list", fail_fast=True)
    with pytest.raises(JobFailed) as ended:
        job.result(timeout=20)
    assert any(str(text).split(": ", 1)[1] in str(ended.value) for text in expected if isinstance(text, str))
    eventually(lambda: job.status()["state"] == "failed")


def test_a_debugger_stops_at_what_has_no_place() -> None:
    with pytest.raises(TaskError, match="meta has no 'frame'"):
        list(DebugPipeline([Frames]).run(Task([ABSENT, 0]), order="meta:frame", raising=True))


@pytest.mark.parametrize("order", ["meta:", "meta", "frame", ""])
def test_an_order_that_is_none(client: Client, order: str) -> None:
    with pytest.raises(UsageError, match="'order' is to be 'path', 'roots', 'none', or 'meta:KEY'"):
        client.submit(Job("job", Task([])), pipeline="list", order=order)
    with pytest.raises(UsageError, match="order is to be 'path', 'roots', 'none', or 'meta:KEY'"):
        run_debug([Frames], Task([]), order=order)


SORTED: dict[str, tuple[list[Any], list[Any]]] = {
    "reversed": ([2, 1, 0], [[2, 0], [1, 1], [0, 2]]),
    "skipped": ([7, 0, 3], [[1, 0], [2, 1], [0, 2]]),
    "repeated": (
        [0, 1, 1, 0, 2],
        [[0, 0], [1, 1], [4, 2], *(refused(f"get_sequence_id gave {k} for the second time") for k in (1, 0))],
    ),
    "raises": ([1, "raise", 0], [[2, 0], [0, 1], "RuntimeError: no id today"]),
    "missing": ([1, ABSENT, 0], [[2, 0], [0, 1], "KeyError: 'frame'"]),
    "negative": ([-2, 0], [[1, 0], "ValueError: get_sequence_id gave -2, which is negative"]),
    "text": (["0", 0], [[1, 0], "ValueError: get_sequence_id gave '0', which is no int"]),
    "before a gap": ([5, -1, 0], [[2, 0], "ValueError: get_sequence_id gave -1, which is negative", [0, 1]]),
}
"""Ids -> what the ordered stage gives."""


@pytest.mark.parametrize("name", SORTED)
def test_get_sequence_id(client: Client, name: str) -> None:
    frames, expected = SORTED[name]
    assert [outcome(task) for task in DebugPipeline([Frames, Sort]).run(Task(frames))] == expected
    assert real(client, "sort", frames, order="path") == expected
