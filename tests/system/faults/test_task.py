"""Tasks that kill their worker, hang, or take all memory: each fails, and no other does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.odd import RAISED
from tests.support.cluster import Cluster, stage
from tests.support.memory import small_memory
from tests.support.runs import run
from zturbo.errors import TaskError, TaskTimeout, WorkerLost


@pytest.mark.parametrize(
    "how, said",
    [
        ("kill", "SIGKILL"),
        ("segfault", "SIGSEGV"),
        ("exit", "exit code 3"),
        ("exit 0", "exit code 0"),
        ("abort", "SIGABRT"),
    ],
)
def test_poison_takes_nobody_along(how: str, said: str) -> None:
    stages = [stage("add", "Add", 1), stage("deadly", "Deadly", 2, how=how, which=500)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        good, bad = run(client, 1000)
        assert good == [value for value in range(1, 1001) if value != 500]
        (error,) = bad
        assert isinstance(error, WorkerLost)
        assert "killed its worker, 3 times" in str(error)
        assert said in str(error)
        assert "p.deadly" in str(error)
        assert "task 499" in str(error), "its path"
        assert sum(event[0] == "exited" for event in cluster.events) == 3


def test_an_odd_error_takes_no_worker_along() -> None:
    with (
        Cluster({"p": [stage("odd", "tests.stages.odd:Odd", 1)]}) as cluster,
        cluster.client() as client,
    ):
        good, bad = run(client, 100)
        assert good == list(range(len(RAISED), 100))
        assert len(bad) == len(RAISED)
        assert all(isinstance(error, TaskError) for error in bad)
        assert "caf\\udce9.mp4" in str(bad[0])
        assert not [event for event in cluster.events if event[0] == "exited"]


@pytest.mark.parametrize(
    "cls, poison",
    [
        ("DeadlyBeside", {7}),
        ("DeadlyReset", {0, 1}),
        ("DeadlyAsyncReset", {0, 1}),
        ("DeadlyBatchReset", {0, 1}),
        ("DeadlyId", {2}),
    ],
)
def test_a_death_outside_of_process_counts_too(cls: str, poison: set[int]) -> None:
    """Nobody is named as running then; still no task comes again for ever."""
    given = list(range(8)) if len(poison) == 1 else [0, 1]
    with Cluster({"p": [stage("odd", f"tests.stages.odd:{cls}")]}) as cluster:
        with cluster.client() as client:
            good, bad = run(client, len(given))
    assert good == [content for content in given if content not in poison]
    assert len(bad) == len(poison)
    assert all(isinstance(error, WorkerLost) for error in bad)
    assert "exit code 9" in str(bad[0])


def test_an_ordered_stage_that_dies_of_its_reset_fails_the_job_as_a_whole() -> None:
    odd = stage("odd", "tests.stages.odd:DeadlyOrderedReset")
    with Cluster({"p": [odd]}) as cluster, cluster.client() as client:
        good, (error,) = run(client, 5)
        assert good == []
        assert isinstance(error, WorkerLost)


def test_a_task_that_takes_all_memory() -> None:
    with small_memory() as group:
        deadly = stage("deadly", "Deadly", 2, how="memory", which=50, cgroup=str(group))
        with Cluster({"p": [deadly]}) as cluster, cluster.client() as client:
            good, bad = run(client, 100)
            assert good == [value for value in range(100) if value != 50]
            (error,) = bad
            assert isinstance(error, WorkerLost)
            assert "SIGKILL, likely out of memory" in str(error)


@pytest.mark.parametrize("how", ["generator", "late generator"])
def test_a_poisoned_generator_fails_after_what_it_gave(how: str) -> None:
    with (
        Cluster({"p": [stage("deadly", "Deadly", 2, how=how)]}) as cluster,
        cluster.client() as client,
    ):
        good, bad = run(client, 20)
        assert [value for value in good if value] == [value for value in range(1, 20) if value != 7]
        (error,) = bad
        assert isinstance(error, WorkerLost)
        assert sum(event[0] == "exited" for event in cluster.events) == 3


def test_poison_in_an_ordered_stage() -> None:
    stages = [stage("add", "Add", 2), stage("ordered", "DeadlyOrdered", 2, which=500)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        good, bad = run(client, 1000)
        (error,) = bad
        assert isinstance(error, WorkerLost)
        assert "killed its worker, 3 times" in str(error)
        assert "SIGKILL" in str(error), "the cause"
        assert "p.ordered" in str(error)
        assert "task 499" in str(error), "its path"
        before = [[value, value] for value in range(1, 500)]
        assert good == before + [[value, value - 1] for value in range(501, 1001)]
        deaths = [event for event in cluster.events if event[0] == "exited"]
        assert [death[1] for death in deaths] == ["p.ordered"] * 3


def test_a_task_over_its_time_ends_its_worker_and_no_other(tmp_path: Path) -> None:
    hang = stage("hang", "Hang", 2)
    hang["task_timeout"] = 0.5
    with Cluster({"p": [stage("log", "Log", 1, path=str(tmp_path / "log")), hang]}) as cluster:
        with cluster.client() as client:
            good, bad = run(client, 200)
            assert good == [value for value in range(200) if value != 7]
            (error,) = bad
            assert isinstance(error, TaskTimeout)
            assert "ran longer than task_timeout" in str(error)
            assert sum(event[0] == "exited" for event in cluster.events) == 1
            assert len((tmp_path / "log").read_text().split()) == 200, "nothing above was done again"
