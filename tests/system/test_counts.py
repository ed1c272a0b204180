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
    name: [
        stage("roots", "tests.stages.counting:Roots"),
        stage("fan", "tests.stages.counting:Fan", 2),
        stage("keep", f"tests.stages.counting:{keep}", 2),
        stage("ordered", "tests.stages.counting:Ordered"),
    ]
    for name, keep in (("p", "Keep"), ("slow", "KeepSlowly"))
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


ROOTS = list(range(300))


def test_a_job_that_is_run_again_is_counted_anew(cluster: Cluster) -> None:
    with cluster.client() as client:
        job = client.submit(Task(ROOTS), pipeline="p", max_retry=1)
        job.result(timeout=60)
        assert told(job.status()) == truth(ROOTS)
        assert "retry 1" in job.status()["incidents"][0]


@pytest.mark.parametrize("name", ["slow.ordered", "slow.keep"])
def test_counts_after_a_death(cluster: Cluster, name: str) -> None:
    """The job's own are exact. A stage in order starts the job over, which is counted anew; what a plain one
    has given may be done again, and so be counted twice.
    """
    stages, *whole = truth(ROOTS)
    with cluster.client() as client:
        job = client.submit(Task(ROOTS), pipeline="slow")
        results = 0
        for _ in job.stream(timeout=60):
            results += 1
            if results == 5:
                cluster.kill(name)
        counts, *ended = told(job.status())
        assert ended == whole and results == whole[0]
        if name == "slow.ordered":
            assert counts == stages
