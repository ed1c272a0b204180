"""The counts of a job that has ended are whole, however soon one asks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.stages.counting import truth
from tests.support.cluster import Cluster, stage
from zturbo import Task

STAGES = {
    "p": [
        stage("roots", "tests.stages.counting:Roots"),
        stage("fan", "tests.stages.counting:Fan", 2),
        stage("keep", "tests.stages.counting:Keep", 2),
        stage("ordered", "tests.stages.counting:Ordered"),
    ]
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(STAGES) as cluster:
        yield cluster


def told(status: dict[str, Any]) -> tuple[list[tuple[str, int, int]], int, int]:
    assert all(not count["queued"] and not count["running"] for count in status["counts"])
    counts = [(count["stage"], count["done"], count["failed"]) for count in status["counts"]]
    return counts, status["results"], status["failed"]


def test_a_status_right_after_the_result_is_whole(cluster: Cluster) -> None:
    rng = random.Random(5)
    jobs = [[rng.randrange(1000) for _ in range(rng.choice([0, 1, 3, 40, 400]))] for _ in range(60)]

    def one(roots: list[int]) -> None:
        job = client.submit(Task(roots), pipeline="p")
        result = job.result(timeout=60)
        assert told(job.status()) == truth(roots)
        assert (len(result), len(result.failed_tasks)) == truth(roots)[1:]

    with cluster.client() as client, ThreadPoolExecutor(4) as pool:
        list(pool.map(one, jobs))
