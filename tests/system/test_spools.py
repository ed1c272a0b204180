"""A sink's disk: gone while the sink is down, or full."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.disks import fill
from zturbo import Task
from zturbo.errors import ResultsLost


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


def test_a_full_disk_of_the_sink_alone_pauses_its_jobs_and_says_so(small_disk: Path) -> None:
    state = Path(tempfile.mkdtemp(prefix="zt-test-"))
    (state / "sink-0").symlink_to(small_disk)
    with Cluster({"p": [stage("add", "Add", 2)]}, state=state) as cluster, cluster.client() as client:
        assert client.submit(Task(1), pipeline="p").result(timeout=20) == [2]
        ballast = fill(small_disk)
        stream = client.map(range(20_000), pipeline="p", name="long")
        jobs = []

        def told() -> bool:
            jobs[:] = [job for job in client.jobs() if "disk" in str(job["waiting"])]
            return bool(jobs)

        eventually(told)
        (job,) = jobs
        assert job["name"] == "long" and job["state"] == "running" and job["results"] < 20_000
        assert "the disk of its spool is full" in job["waiting"]
        assert client.describe()["trouble"] is None, "the ledger's disk has room"
        command = [sys.executable, "-m", "zturbo", "jobs", "--broker", cluster.address]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "the disk of its spool is full" in shown.stdout
        cluster.kill_and_keep_away("sink-0")
        cluster.let_back("sink-0")
        assert cluster.child("sink-0").is_ready
        assert not [event for event in cluster.events if event[0] == "failed"], "it starts on a full disk"
        ballast.unlink()
        assert list(stream) == list(range(1, 20_001)), "it goes on by itself"
        assert not [entry for entry in client.logs()[0] if "starts over" in entry["text"]]
        assert [event[1] for event in cluster.events if event[0] == "exited"] == ["sink-0"]
