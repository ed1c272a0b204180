"""Workers that are killed: nothing is lost, nothing comes twice, and it is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.stages.basic import sums
from tests.support.cluster import Cluster, eventually, stage
from tests.support.runs import run
from tests.support.sums import EXPECTED_SUM, PIPELINE, N
from zturbo import Job, Task
from zturbo.errors import (
    TaskError,
)


@pytest.mark.parametrize("victim", ["p.add", "p.slow", "p.sum", "sink-0"])
def test_kill_9_while_a_job_runs(victim: str) -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        stream = client.map(range(N), pipeline="p")
        got = [next(stream) for _ in range(300)]
        pid = cluster.kill(victim)
        got += list(stream)
        assert got == EXPECTED_SUM
        assert not Path(f"/proc/{pid}").exists()
        assert any(
            kind == "exited" and name == victim and "SIGKILL" in text for kind, name, text in cluster.events
        )


def test_kill_9_of_all_workers_of_a_stage() -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        stream = client.map(range(N), pipeline="p")
        got = [next(stream) for _ in range(300)]
        for child in [child for child in cluster.node.children if child.what.name == "p.slow"]:
            os.kill(child.pid, 9)
        got += list(stream)
        assert got == EXPECTED_SUM


def test_kill_9_of_a_worker_and_of_one_above_it_at_once() -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        stream = client.map(range(N), pipeline="p")
        got = [next(stream) for _ in range(300)]
        for child in (cluster.child("p.add"), cluster.child("p.slow")):
            os.kill(child.pid, 9)
        got += list(stream)
        assert got == EXPECTED_SUM


def test_kill_9_in_the_midst_of_a_generator(tmp_path: Path) -> None:
    gate, n = tmp_path / "gate", 100_000
    stages = [
        stage("count", "Count", 2),
        stage("gate", "Gate", 2, path=str(gate), below=400),
        stage("sum", "Sum"),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        stream = client.submit(Task(n), pipeline="p").stream()
        got = [next(stream) for _ in range(300)]
        counts = [child for child in cluster.node.children if child.what.name == "p.count"]
        (running,) = [child for child in counts if child.running_note.read()]  # it has more than may wait
        os.kill(running.pid, 9)
        gate.touch()
        got += list(stream)
        assert got == list(sums(range(n)))


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
