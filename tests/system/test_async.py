"""Stages that are ``async def``, on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stages.basic import even
from tests.stages.coroutines import OwnState, Steps, Streams, Together, Waits, wait_half, wait_twice
from tests.support.cluster import Cluster, eventually, stage
from zturbo import BatchStage, Client, Job, Resources, Stage, System, Task
from zturbo.api.stage_kinds import FunctionStage
from zturbo.errors import JobCancelled, TaskError, TaskTimeout, UsageError, WorkerLost
from zturbo.system.debug import run_debug


def waiting(name: str, cls: str, workers: int = 1, **args: Any) -> dict[str, Any]:
    """A stage table; ``cls`` is one of ``tests.stages.coroutines``."""
    return stage(name, f"tests.stages.coroutines:{cls}", workers, **args)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pipelines = {
        "together": [waiting("together", "Together")],
        "waits": [waiting("waits", "Waits", 2), stage("pass", "Slow", 2, seconds=0)],
        "streams": [waiting("streams", "Streams", 2), stage("pass", "Slow", seconds=0)],
        "ordered": [waiting("half", "wait_half", 2), waiting("steps", "Steps")],
        "functions": [waiting("twice", "wait_twice", times=3), waiting("half", "wait_half", 2)],
        "state": [waiting("state", "OwnState")],
    }
    with Cluster(pipelines) as running:
        yield running


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as running:
        yield running


def waited(contents: list[int]) -> list[Any]:
    """What ``Waits`` gives."""
    out: list[Any] = []
    for content in contents:
        last = content % 10
        some: list[Any] = [content, content + 0.5] if last == 5 else [content]
        out += ["failed"] if last == 3 else [] if last == 4 else some
    return out


def run(
    client: Client, contents: list[Any], pipeline: str = "waits"
) -> tuple[list[Any], list[BaseException]]:
    """(contents with "failed" for failures, these)."""
    results = list(client.map(contents, pipeline=pipeline, on_error="return"))
    failures = [result for result in results if isinstance(result, BaseException)]
    return ["failed" if isinstance(result, BaseException) else result for result in results], failures


def test_fifty_tasks_overlap_in_one_worker_and_keep_their_order(client: Client) -> None:
    results = list(client.map(range(500), pipeline="together"))
    assert [content for content, _ in results] == list(range(500))
    assert results[-1][1] == 50


def test_failures_none_and_many(client: Client) -> None:
    results, failures = run(client, list(range(500)))
    assert results == waited(list(range(500)))
    assert all(isinstance(failure, TaskError) for failure in failures)
    assert "ValueError: 3" in str(failures[0])
    _, (failure,) = run(client, ["string"])
    assert "Waits.process returned 'string' of type str" in str(failure)


def test_asynchronous_generators(client: Client) -> None:
    expected: list[Any] = []
    for n in range(300):
        half_way = n % 9 == 8 and n % 5 > 2
        expected += [[n, i] for i in range(2 if half_way else n % 5)]
        expected += ["failed"] * half_way
    assert run(client, list(range(300)), "streams")[0] == expected


def test_an_ordered_stage_awaits_each_task_before_the_next(client: Client) -> None:
    total, expected = 0, []
    for n in range(0, 400, 2):
        total = (total * 31 + n // 2) % 1_000_003
        expected.append(total)
    assert list(client.map(range(400), pipeline="ordered")) == expected


def test_functions(client: Client) -> None:
    expected = [value // 2 for n in range(200) for value in range(n * 3, n * 3 + 3) if value % 2 == 0]
    assert list(client.map(range(200), pipeline="functions")) == expected


def test_jobs_at_once_have_each_their_own_state(client: Client) -> None:
    jobs: dict[int, list[Any]] = {}

    def one(number: int) -> None:
        jobs[number] = list(client.map(range(number * 1000, number * 1000 + 30), pipeline="state"))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs == {number: [number] * 30 for number in range(8)}


def test_killed_in_the_middle(tmp_path: Path) -> None:
    once = tmp_path / "killed"
    stages = [waiting("waits", "Waits", 2, once=str(once)), stage("sum", "Ordered")]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        results, _ = run(client, list(range(500)), "p")
        assert once.exists()
        assert sum(event[0] == "exited" for event in cluster.events) == 1
    expected = waited(list(range(500)))
    assert [r if r == "failed" else r[0] for r in results] == expected
    places = [r[1] for r in results if r != "failed"]
    assert places == list(range(len(places))), "the ordered stage saw each once, in order"


def test_poison_beside_others_is_found_and_no_other_blamed() -> None:
    contents: list[Any] = [*range(100), -2, *range(100, 200)]
    with Cluster({"p": [waiting("waits", "Waits", 2)]}) as cluster, cluster.client() as client:
        results, failures = run(client, contents, "p")
        assert sum(event[0] == "exited" for event in cluster.events) == 3
    assert results == [*waited(list(range(100))), "failed", *waited(list(range(100, 200)))]
    (lost,) = [failure for failure in failures if isinstance(failure, WorkerLost)]
    assert "exit code 3" in str(lost)
    assert "3 times" in str(lost)


def test_a_cancelled_job_cancels_its_coroutines(tmp_path: Path) -> None:
    note = tmp_path / "cancelled"
    with Cluster({"p": [waiting("waits", "Waits", path=str(note))]}) as cluster, cluster.client() as client:
        job = client.submit(Job("forever", Task("forever")), pipeline="p")
        other = client.submit(Job("other", Task("forever")), pipeline="p")
        eventually(lambda: len(cluster.child("p.waits").running_note.read()) == 2)
        pid = cluster.child("p.waits").pid
        job.cancel()
        with pytest.raises(JobCancelled):
            job.result(timeout=30)
        eventually(note.exists)
        eventually(lambda: len(cluster.child("p.waits").running_note.read()) == 1)
        assert run(client, [1, 2], "p")[0] == [1, 2]
        assert cluster.child("p.waits").pid == pid, "nobody was killed for it"
        other.cancel()


def test_a_task_over_its_time_fails_alone(tmp_path: Path) -> None:
    note = tmp_path / "cancelled"
    stages = [{**waiting("waits", "Waits", path=str(note)), "task_timeout": 1.0}]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        results, (failure,) = run(client, [1, "forever", 2], "p")
        assert results == [1, "failed", 2]
        assert isinstance(failure, TaskTimeout)
        assert "longer than 1 s" in str(failure)
        assert note.exists()
        assert not [event for event in cluster.events if event[0] == "exited"]


def test_a_task_that_blocks_the_loop_is_found_and_fails_alone() -> None:
    stages = [{**waiting("waits", "Waits"), "task_timeout": 0.5}]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        results, (failure,) = run(client, [1, "block", 2], "p")
        assert results == [1, "failed", 2]
        assert isinstance(failure, TaskTimeout)


def test_a_drained_worker_gives_back_what_it_has_not_begun(tmp_path: Path) -> None:
    paths = [waiting("waits", "Waits", 2, path=str(tmp_path / "cancelled"))]
    with Cluster({"p": paths}) as cluster, cluster.client() as client:
        done: list[Any] = []
        thread = threading.Thread(target=lambda: done.extend(run(client, list(range(1000)), "p")[0]))
        thread.start()
        eventually(lambda: bool(cluster.child("p.waits").running_note.read()))
        os.kill(cluster.child("p.waits").pid, signal.SIGTERM)
        thread.join()
        assert done == waited(list(range(1000)))
        eventually(lambda: any(event[0] == "exited" for event in cluster.events))
        assert not (tmp_path / "cancelled").exists()


class Mixed(System):
    def get_stages(self, resources: Resources) -> list[Any]:
        return [wait_half, Together(1), first, wait_twice, Steps(), even]


async def first(content: list[int]) -> int:
    return content[0]


@pytest.mark.parametrize("debug", [True, False])
def test_in_a_system(debug: bool) -> None:
    with Mixed(debug=debug) as system:
        system.add_job(Job("mixed", Task(42)))
        assert system.wait_job(job_timeout=30).results == [42]


def test_debug_mode_gives_the_same() -> None:
    assert run_debug([Waits], Task(5)).results == [5, 5.5]
    assert run_debug([Waits], Task(4)).results == []
    assert "ValueError: 3" in str(run_debug([Waits], Task(3)).failed_tasks[0].error)
    streamed = run_debug([Streams], Task(8))
    assert (streamed.results, len(streamed.failed_tasks)) == ([[8, 0], [8, 1]], 1)
    assert run_debug([FunctionStage(wait_twice, times=3), OwnState], Task(1000)).results == [3, 3, 3]


def test_debug_mode_where_a_loop_runs_already() -> None:
    async def cell() -> list[Any]:
        return run_debug([Waits, Steps], Task(5)).results

    assert asyncio.run(cell()) == [5, 5 * 31 + 5.5]


class NotAsync(Stage):
    def process(self, task: Task) -> Any:
        return first([1])


class AsyncBatch(BatchStage):
    async def process_batch(self, tasks: list[Task]) -> Any:
        return tasks


def test_what_cannot_be() -> None:
    error = run_debug([NotAsync], Task(1)).failed_tasks[0].error
    assert "NotAsync.process returned <coroutine object first" in str(error)
    assert "is not an 'async def': write it as one" in str(error)
    with pytest.raises(UsageError, match="a BatchStage is not async def; write a Stage"):
        AsyncBatch()
    for wrong in (0, "many"):
        Bad = type("Bad", (Waits,), {"max_concurrency": wrong})
        with pytest.raises(UsageError, match="Bad: max_concurrency is to be an int of 1 or more"):
            run_debug([Bad], Task(1))
