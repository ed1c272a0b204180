"""Sinks that die, and sinks whose spool is gone or damaged."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.lives import dies_beside_the_disk, redoes_nothing
from tests.support.logged import logged
from zturbo import Task
from zturbo.errors import ResultsLost


def test_results_of_a_finished_job_outlive_the_sink() -> None:
    with Cluster({"p": [stage("count", "Count")]}) as cluster, cluster.client() as client:
        job = client.submit(Task(3000), pipeline="p")
        assert job.result(timeout=20) == list(range(3000))
        cluster.kill("sink-0")
        assert client.attach(job.id).result(timeout=20) == list(range(3000))


def test_a_spool_that_is_gone(tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path)}, lease=1.0) as cluster, cluster.client() as client:
        done = client.submit(Task(5), pipeline="p")
        assert done.result(timeout=20) == [5]
        stream = client.map(range(1000), pipeline="p")
        got = [next(stream) for _ in range(50)]
        child = cluster.child("sink-0")
        for file in (cluster.network.state / "sink-0").iterdir():
            file.unlink()
        os.kill(child.pid, signal.SIGKILL)
        got += list(stream)
        assert got == list(range(1000)), "it was run again, past what the client had"
        with pytest.raises(ResultsLost):
            client.attach(done.id).result(timeout=20)


def test_a_damaged_spool_is_not_served(tmp_path: Path) -> None:
    with Cluster({"p": [stage("count", "Count")]}, lease=1.0) as cluster, cluster.client() as client:
        job = client.submit(Task(3000), pipeline="p")
        assert job.result(timeout=20) == list(range(3000))
        (spool,) = (cluster.network.state / "sink-0").glob("*.spool")
        raw = bytearray(spool.read_bytes())
        raw[len(raw) // 2] ^= 1
        spool.write_bytes(raw)
        cluster.kill("sink-0")
        with pytest.raises(ResultsLost):
            client.attach(job.id).result(timeout=20)


def cut_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_all(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    "harm, durability", [(cut_half, "fsync"), (cut_all, "process"), (Path.unlink, "memory")]
)
def test_a_spool_that_lost_its_end(harm: Callable[[Path], None], durability: str, tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path)}, lease=1.0) as cluster, cluster.client() as client:
        done = client.submit(Task(5), pipeline="p", durability=durability)
        assert done.result(timeout=20) == [5]
        stream = client.map(range(1000), pipeline="p", durability=durability)
        got = [next(stream) for _ in range(50)]
        child = cluster.child("sink-0")
        os.kill(child.pid, signal.SIGSTOP)
        spools = list((cluster.network.state / "sink-0").glob("*.spool"))
        assert len(spools) == 2
        for path in spools:
            harm(path)
        os.kill(child.pid, signal.SIGKILL)
        got += list(stream)
        assert got == list(range(1000)), "it was run again, past what the client had"
        with pytest.raises(ResultsLost):
            client.attach(done.id).result(timeout=20)


@pytest.mark.parametrize("durability", ["fsync", "process"])
def test_the_sinks_host_was_started_anew(durability: str) -> None:
    stages = [stage("count", "Count")]
    with Cluster({"p": stages}, lease=1.0) as cluster, cluster.client() as client:
        job = client.submit(Task(1000), pipeline="p", durability=durability)
        assert job.result(timeout=20) == list(range(1000))
        (cluster.network.state / "sink-0" / "boot").write_text("another boot")
        cluster.kill("sink-0")
        if durability == "fsync":
            assert client.attach(job.id).result(timeout=20) == list(range(1000))
        else:
            with pytest.raises(ResultsLost):
                client.attach(job.id).result(timeout=20)


@pytest.mark.parametrize("durability", ["fsync", "process", "memory"])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_spool_that_is_gone_while_its_sink_is_down(ordered: bool, durability: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stages = [stage("gate", "Gate", 2, path=str(gate), below=500)]
    if ordered:
        stages.append(stage("ordered", "Ordered"))
    with Cluster({"p": stages}, lease=1.0, durability=durability) as cluster, cluster.client() as client:
        done = client.submit(Task(5), pipeline="p")
        finished = done.result(timeout=20)
        assert finished == [[5, 0] if ordered else 5]
        stream = client.map(range(1000), pipeline="p", name="long")
        got = [next(stream) for _ in range(50)]
        (long,) = [job["id"] for job in client.jobs() if job["name"] == "long"]
        assert client.jobs(long)[0]["epoch"] == 1
        cluster.kill_and_keep_away("sink-0")
        shutil.rmtree(cluster.network.state / "sink-0")
        cluster.let_back("sink-0")
        eventually(lambda: client.jobs(long)[0]["epoch"] > 1)
        gate.touch()
        got += list(stream)
        assert got == [[i, i] if ordered else i for i in range(1000)], "equal to what one process gives"
        with pytest.raises(ResultsLost):
            client.attach(done.id).result(timeout=20)
        assert client.submit(Task(5), pipeline="p").result(timeout=20) == finished


def test_a_spool_of_jobs_that_travel_together_is_gone(tmp_path: Path) -> None:
    """Some are held up in the first run and not in the second: results come in another order."""
    gate = tmp_path / "gate"
    contents = [*range(8), *range(1000, 1005), *range(8, 60)]
    some_pass = stage("gate", "tests.stages.coroutines:AsyncGate", path=str(gate), below=20)
    with (
        Cluster({"p": [some_pass]}, lease=1.0) as cluster,
        cluster.client() as client,
    ):
        assert client.submit(Task(0), pipeline="p").result(timeout=20) == [0], "all are there"
        handles = client.submit_many([Task(content) for content in contents], pipeline="p")
        eventually(lambda: sum(handle.done() for handle in handles) == 20)
        assert any(job["carries"] >= 16 for job in client.jobs()), "they travel together, in a message or two"
        cluster.kill_and_keep_away("sink-0")
        shutil.rmtree(cluster.network.state / "sink-0")
        gate.touch()
        cluster.let_back("sink-0")
        assert [handle.result(timeout=30) for handle in handles] == [[content] for content in contents]


def test_a_lost_spool_ends_a_job_without_an_order(tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    with (
        Cluster(
            {"p": [stage("gate", "tests.stages.coroutines:AsyncGate", path=gate, below=1000)]}, lease=1.0
        ) as cluster,
        cluster.client() as client,
    ):
        stream = client.map([1000, *range(60)], pipeline="p", ordered=False)
        assert next(stream) < 1000
        cluster.kill_and_keep_away("sink-0")
        shutil.rmtree(cluster.network.state / "sink-0")
        cluster.let_back("sink-0")
        with pytest.raises(ResultsLost, match="with order 'none' another run"):
            list(stream)


@pytest.mark.parametrize("durability", ["fsync", "process", "memory"])
def test_a_restart_redoes_nothing(durability: str, tmp_path: Path) -> None:
    redoes_nothing("sink-0", durability, tmp_path)


@pytest.mark.parametrize(
    "where, when",
    [
        ("zturbo.runtime.disk.spool:Spool.append", "after"),
        ("zturbo.runtime.disk.spool:Spool.sync", "before"),
        ("zturbo.runtime.disk.spool:Spool.sync", "after"),
    ],
)
def test_deaths_on_either_side_of_the_disk(where: str, when: str, tmp_path: Path) -> None:
    """Between write, sync and ack: three lives."""
    dies_beside_the_disk("sink", "zturbo.runtime.members.sink", where, when, tmp_path)
