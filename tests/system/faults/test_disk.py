"""Disks that are full: a pause that says why, and that ends by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.disks import fill
from zturbo import Client, Task
from zturbo.errors import BrokerUnavailable


def test_a_full_disk_at_the_sink_pauses_and_goes_on_by_itself(small_disk: Path) -> None:
    stages = [stage("count", "Count")]
    with Cluster({"p": stages}, broker={"state": str(small_disk)}) as cluster, cluster.client() as client:
        assert client.submit(Task(1), pipeline="p").result(timeout=20) == [0]
        ballast = fill(small_disk)
        gate = threading.Event()

        def submit() -> None:
            with cluster.client() as other:
                results.append(
                    other.submit(Task(50_000), pipeline="p", durability="memory").result(timeout=60)
                )
            gate.set()

        results: list[object] = []
        thread = threading.Thread(target=submit)
        thread.start()
        eventually(lambda: "full" in str(client.describe()) and not gate.is_set())
        said = [job["waiting"] for job in client.jobs() if job["waiting"]]
        trouble = client.describe()["trouble"]
        assert any("disk" in text for text in said) or (trouble and "disk" in trouble), (said, trouble)
        time.sleep(1)
        assert not gate.is_set()
        ballast.unlink()
        thread.join(timeout=60)
        assert results == [list(range(50_000))]
        assert not [event for event in cluster.events if event[0] == "exited"]


def test_a_broker_whose_disk_is_full_says_so_and_can_be_stopped(small_disk: Path) -> None:
    with Cluster({"p": [stage("add", "Add")]}, broker={"state": str(small_disk)}) as cluster:
        with cluster.client(), Client(cluster.address, timeout=3) as client:
            assert cluster.child("sink-0").is_ready, "it has its spool"
            ballast = fill(small_disk)
            with pytest.raises(BrokerUnavailable, match="the disk of the broker's ledger is full"):
                client.submit(Task(1), pipeline="p", wait=True)
            cluster.away.add("broker")
            os.kill(cluster.child("broker").pid, signal.SIGTERM)
            eventually(lambda: any(event[:2] == ("exited", "broker") for event in cluster.events))
            assert [text for kind, _, text in cluster.events if kind == "exited"] == ["exit code 0"]
            fill(small_disk)  # it made room when it closed its ledger
            cluster.let_back("broker")
            eventually(lambda: any(event[:2] == ("failed", "broker") for event in cluster.events))
            ballast.unlink()
        with cluster.client() as client:
            assert client.submit(Task(1), pipeline="p").result(timeout=60) == [2]
        said = [text for kind, _, text in cluster.events if kind == "failed"]
        assert said and all("ledger.db cannot be opened: its disk is full" in text for text in said), said
        assert {name for kind, name, _ in cluster.events if kind == "exited"} == {"broker"}


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
        assert not [entry for entry in client.logs() if "starts over" in entry["text"]]
        assert [event[1] for event in cluster.events if event[0] == "exited"] == ["sink-0"]
