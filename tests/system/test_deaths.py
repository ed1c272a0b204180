"""Workers that die, of themselves or of a task: nothing is lost, nothing comes twice, and it is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.stages.odd import RAISED
from tests.support.cluster import Cluster, eventually, stage
from tests.support.memory import small_memory
from zturbo import Client, Job, Task
from zturbo.errors import TaskError, TaskTimeout, WorkerLost

MENDED = """
from zturbo import Stage
class S(Stage):
    def process(self, task):
        return task
"""


def run(client: Client, n: int, **options: object) -> tuple[list[object], list[BaseException]]:
    """(contents, errors) of a map over range(n)."""
    good: list[object] = []
    bad: list[BaseException] = []
    for content in client.map(range(n), pipeline="p", on_error="return", **options):  # type: ignore[arg-type]
        (bad if isinstance(content, BaseException) else good).append(content)  # type: ignore[arg-type]
    return good, bad


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
        assert "killed whoever ran it, 3 times" in str(error)
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


def test_why_a_stage_does_not_start_is_told_in_any_case() -> None:
    with Cluster({"p": [stage("odd", "tests.stages.odd:OddInit")]}) as cluster:
        with cluster.client() as client:
            job = client.submit(Task(1), pipeline="p")
            eventually(lambda: "Panic: cannot read caf\\udce9.mp4" in str(job.status()["waiting"]))


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


def test_a_worker_that_dies_before_its_first_task_again_and_again_is_told() -> None:
    odd = stage("odd", "tests.stages.odd:DeadlyStart")
    with Cluster({"p": [odd]}) as cluster, cluster.client() as client:
        job = client.submit(Task(1), pipeline="p")
        eventually(lambda: "died before it ran a task, again and again" in str(job.status()["waiting"]))
        assert "exit code 9" in str(job.status()["waiting"])
        assert "it is tried again every 30 s" in str(job.status()["waiting"])


def test_a_task_that_takes_all_memory() -> None:
    with small_memory() as group:
        deadly = stage("deadly", "Deadly", 2, how="memory", which=50, cgroup=str(group))
        with Cluster({"p": [deadly]}) as cluster, cluster.client() as client:
            good, bad = run(client, 100)
            assert good == [value for value in range(100) if value != 50]
            (error,) = bad
            assert isinstance(error, WorkerLost)
            assert "SIGKILL, likely out of memory" in str(error)


def gap(stream: Iterator[object], seconds: float) -> float:
    """How long a stream of results stood still at most, for so many seconds."""
    times = [time.monotonic()]
    for _ in stream:
        times.append(time.monotonic())
        if times[-1] > times[0] + seconds:
            break
    return max(after - before for before, after in pairwise(times))


def test_results_flow_again_within_a_second(tmp_path: Path) -> None:
    """With a peer left; without one, within a second beyond what a bare start of a worker takes."""
    log = stage("log", "Log", 2, path=str(tmp_path / "log"), seconds=0.005)
    with Cluster({"p": [log]}) as cluster, cluster.client() as client:
        stream = iter(client.map(range(10**6), pipeline="p"))
        next(stream)
        calm = gap(stream, 1.0)
        cluster.kill("p.log")
        left = gap(stream, 4.0)
        for child in [child for child in cluster.node.children if child.what.name == "p.log"]:
            child.signal(signal.SIGKILL)
        none_left = gap(stream, 4.0)
        assert sum(event[:2] == ("exited", "p.log") for event in cluster.events) == 3
        bare = min(
            cluster.took[child.pid]
            for child in cluster.node.children
            if child.what.name == "p.log" and child.pid in cluster.took
        )
        print(
            f"results stood still for {left:.2f} s with a peer left ({calm:.2f} s before), "
            f"for {none_left:.2f} s with none, where a bare start takes {bare:.2f} s"
        )
        stream.close()  # type: ignore[attr-defined]


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
        assert "killed whoever ran it, 3 times" in str(error)
        assert "SIGKILL" in str(error), "the cause"
        assert "p.ordered" in str(error)
        assert "task 499" in str(error), "its path"
        before = [[value, value] for value in range(1, 500)]
        assert good == before + [[value, value - 1] for value in range(501, 1001)]
        deaths = [event for event in cluster.events if event[0] == "exited"]
        assert [death[1] for death in deaths] == ["p.ordered"] * 3


def test_what_was_given_out_does_not_change_in_a_new_epoch(tmp_path: Path) -> None:
    """A task fails, its failure is given out; then the ordered worker dies, and the task would succeed."""
    gate = tmp_path / "gate"
    stages = [
        stage("flaky", "Flaky", path=str(tmp_path / "f")),
        stage("gate", "Gate", path=str(gate), below=1000),
        stage("sum", "Sum", 2),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        stream = client.map(range(2000), pipeline="p", on_error="return")
        got = [next(stream) for _ in range(100)]
        assert client.jobs()[0]["epoch"] == 1
        for child in list(cluster.node.children):
            if child.what.name == "p.sum":
                os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: client.jobs()[0]["epoch"] > 1)  # once or twice, as the deaths are seen
        gate.touch()
        got += list(stream)
    total, expected = 0, []
    for value in range(2000):
        if value != 3:
            total = (total * 31 + value) % 1_000_003
            expected.append(total)
    assert isinstance(got.pop(3), TaskError)
    assert got == expected


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    stages = [stage("deadly", "Deadly", 2, how="segfault", which=500, once=str(tmp_path / "once"))]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        good, bad = run(client, 1000)
        assert good == list(range(1000))
        assert not bad
        assert sum(event[0] == "exited" for event in cluster.events) == 1


def test_the_job_tells_what_died(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stages = [
        stage("deadly", "Deadly", 1, how="segfault", which=3, once=str(tmp_path / "once")),
        stage("gate", "Gate", 1, path=str(gate)),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        job = client.submit(Job("told", Task(3)), pipeline="p")
        eventually(lambda: bool(job.status()["incidents"]))
        (text,) = job.status()["incidents"]
        for part in ("p.deadly", "process ", " on ", "SIGSEGV", "task (the job's root)"):
            assert part in text
        gate.touch()
        assert job.result(timeout=20) == [3]


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


def test_a_stage_that_crashes_at_every_start_is_told_and_recovers(tmp_path: Path) -> None:
    code = tmp_path / "crashing_stage.py"
    code.write_text("import os\nos.abort()\n")
    with Cluster({"p": [stage("crash", f"{code.stem}:S")]}, path=str(tmp_path)) as cluster:
        with cluster.client() as client:
            job = client.submit(Task(1), pipeline="p")
            eventually(lambda: "SIGABRT" in str(job.status()["waiting"]))
            assert "died before it was ready" in str(job.status()["waiting"])
            place = next(place for place in cluster.node.seats if place.what.name == "p.crash")
            eventually(lambda: "it is tried again every 30 s" in str(job.status()["waiting"]))
            eventually(lambda: place.restarts.broken)
            code.write_text(MENDED)
            assert place.start_at is not None
            place.start_at = 0.0  # instead of waiting for half a minute
            assert job.result(timeout=20) == [1]
