"""Kinds of stage on real processes: batches, functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.stages.basic import Batches, even, even_first, halves
from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, Resources, System
from zturbo.api.stage_kinds import FunctionStage
from zturbo.api.task import Task
from zturbo.errors import TaskError, WorkerLost
from zturbo.system.debug import run_debug


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pipelines = {
        "batch": [stage("batch", "Batches", 2)],
        "few": [stage("few", "TooFew")],
        "function": [stage("halves", "halves", into=3), stage("even", "even", 2)],
        "wrong": [stage("even", "even", colour="red")],
    }
    with Cluster(pipelines) as running:
        yield running


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as running:
        yield running


def test_batches_fill_and_keep_the_order(client: Client) -> None:
    results = list(client.map(range(1000), pipeline="batch"))
    assert [content for content, _ in results] == list(range(1000))
    sizes = [size for _, size in results]
    assert max(sizes) <= 8
    assert sum(sizes) / len(sizes) > 4, "most batches are not small"


def test_a_batch_that_is_not_full_does_not_wait_for_ever(client: Client) -> None:
    assert list(client.map([5], pipeline="batch")) == [[5, 1]]


def test_one_that_spoils_its_batch_fails_alone(client: Client) -> None:
    contents = [*range(10), -1, *range(10, 20), -3]
    results = list(client.map(contents, pipeline="batch", on_error="return"))
    assert isinstance(results.pop(10), TaskError)
    assert [content for content, _ in results] == list(range(20))


def test_poison_in_a_batch_is_found_and_no_other_blamed(client: Client) -> None:
    contents = [*range(100), -2, *range(100, 200)]
    results = list(client.map(contents, pipeline="batch", on_error="return"))
    error = results.pop(100)
    assert isinstance(error, WorkerLost)
    assert "exit code 3" in str(error)
    assert "3 times" in str(error)
    assert [content for content, _ in results] == list(range(200))


@pytest.mark.parametrize("contents", [[0], [1, 1, 1, 1, 0]])
def test_a_wrong_number_of_results(client: Client, contents: list[int]) -> None:
    results = list(client.map(contents, pipeline="few", on_error="return"))
    assert results[:-1] == [1] * (len(contents) - 1)
    assert "TooFew.process_batch gave 0 results for 1 tasks" in str(results[-1])


def test_functions(client: Client) -> None:
    expected = [value for content in range(50) for value in halves(content, into=3) if value % 2 == 0]
    assert list(client.map(range(50), pipeline="function")) == expected
    stages = [FunctionStage(halves, into=3), FunctionStage(even)]
    assert [value for n in range(50) for value in run_debug(stages, Task(n))] == expected


class Mixed(System):
    def get_stages(self, resources: Resources) -> list[Any]:
        return [halves, Batches(max_batch=4), even_first]


@pytest.mark.parametrize("debug", [True, False])
def test_kinds_in_a_system(debug: bool) -> None:
    with Mixed(debug=debug) as system:
        system.add_job(Job("mixed", Task(21)))
        assert system.wait_job(job_timeout=30).results == [42]


def test_batches_in_debug_mode() -> None:
    assert run_debug([Batches], Task(4)) == [[4, 1]]
    assert [str(task.error).split(" (")[0] for task in run_debug([Batches], Task(-1)).failed_tasks] == [
        "ValueError: spoilt"
    ]


def test_a_function_that_does_not_take_its_args(cluster: Cluster) -> None:
    def told() -> list[str]:
        return [text for kind, name, text in cluster.events if kind == "failed" and name == "wrong.even"]

    eventually(lambda: bool(told()))
    failed = told()
    assert "even cannot be called with a content and ['colour']" in failed[0]
