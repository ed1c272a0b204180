"""What is bounded: disks that fill up, clients that do not read, fan-outs that are wide."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.disks import fill
from zturbo import Client, Task
from zturbo.deploy.children import worker_children
from zturbo.deploy.network import Network
from zturbo.errors import BrokerUnavailable
from zturbo.runtime.net.host import host_name
from zturbo.runtime.node.node import Node


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
        with Client(cluster.address, timeout=3) as client:
            assert cluster.child("sink-0").is_ready, "it has its spool"
            ballast = fill(small_disk)
            with pytest.raises(BrokerUnavailable, match="the disk of the broker's ledger is full"):
                client.submit(Task(1), pipeline="p")
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


def test_a_client_that_does_not_read_pauses_its_own_job_alone(tmp_path: Path) -> None:
    stages = [stage("log", "Log", 1, path=str(tmp_path / "log"))]
    with Cluster({"p": stages}, broker={"spool_share": 2_000_000}) as cluster, cluster.client() as client:
        stream = client.map((b"x" * 5_000 for _ in range(20_000)), pipeline="p")
        next(stream)
        eventually(lambda: "results to be read" in str(client.jobs()[0]["waiting"]))
        job = client.jobs()[0]["id"]
        for _ in range(3):
            assert list(client.map(range(100), pipeline="p")) == list(range(100)), "others go on"
        counts = [-1]

        def settled() -> bool:
            counts.append(client.jobs(job)[0]["results"])
            time.sleep(1.5)
            return counts[-1] == counts[-2]

        eventually(settled)
        assert 0 < counts[-1] < 20_000, "it is paused"
        assert sum(1 for _ in stream) == 19_999


READER = """
import sys
from pathlib import Path
from zturbo import Client
with Client(sys.argv[1], timeout=30) as client:
    total = count = 0
    for count, total in enumerate(client.attach(sys.argv[2]).stream(timeout=250), 1):
        pass
print(count, total, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
"""


def test_a_million_children_through_an_ordered_stage(tmp_path: Path) -> None:
    n = 10**6
    stages = [stage("count", "Count"), stage("add", "Add", 2), stage("sum", "Sum")]
    with Cluster({"p": stages}, durability="process") as cluster, cluster.client() as client:
        job = client.submit(Task(n), pipeline="p")
        words = [sys.executable, "-c", READER, cluster.address, job.id]
        read = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=290)
        count, total, reader = map(int, read.stdout.split())
        expected = 0
        for value in range(n):
            expected = (expected * 31 + value + 1) % 1_000_003
        assert (count, total) == (n, expected)
        peaks = {"the client": reader}
        for child in cluster.node.children:
            status = Path(f"/proc/{child.pid}/status").read_text()
            peaks[child.what.name] = int(status.split("VmHWM:")[1].split()[0]) // 1024
        print("a million children; peak memory, MB:", peaks)
        assert max(peaks.values()) < 300, peaks


def test_a_stranger_on_the_endpoint_of_a_dead_worker(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = {
        "broker": {"bind": f"ipc://{tmp_path}/broker", "state": str(tmp_path / "state")},
        "pipeline": [
            {
                "name": "p",
                "stage": [
                    stage("first", "Slow", 1, seconds=0.001),
                    stage("second", "Gate", 2, path=str(tmp_path / "gate"), below=100),
                ],
            },
            {"name": "q", "stage": [stage("other", "Log", 1, path=str(tmp_path / "other"))]},
        ],
    }
    network = Network.parse(table, str(tmp_path / "n.toml"))
    with Cluster({}, network=network, address="127.0.0.1") as cluster:
        elsewhere = Node(cluster.address, host="elsewhere")
        specs = worker_children(cluster.network, "p.second", address="127.0.0.1")
        for child in specs:
            elsewhere.add(child)
        thread = threading.Thread(target=elsewhere.run)
        thread.start()
        for child in worker_children(cluster.network, "p.first", address="127.0.0.1"):
            cluster.node.add(child)
        try:
            with cluster.client() as client:
                stream = client.map(range(3000), pipeline="p")
                got = [next(stream) for _ in range(100)]
                view = client.describe()
                assert view["pipelines"][0]["workers"] == (1, 2)
                victim = elsewhere.children[0]
                endpoint = _tcp_endpoint(victim.pid)
                eventually(
                    lambda: bool(victim.running_note.read())
                )  # it holds what it cannot end: an ack is owed
                elsewhere.remove(victim.what)
                broker = cluster.child("broker").pid
                os.kill(broker, signal.SIGSTOP)  # nobody is told of the death, and all goes on as before
                os.kill(victim.pid, 9)
                (stranger,) = worker_children(cluster.network, "q.other", address="127.0.0.1")
                stranger.spec["tcp"] = endpoint
                eventually(lambda: not Path(f"/proc/{victim.pid}").exists())
                elsewhere.add(stranger)
                eventually(lambda: any(c.what is stranger and c.is_ready for c in elsewhere.children))
                (pid,) = (child.pid for child in elsewhere.children if child.what is stranger)

                def strays() -> int:
                    os.kill(pid, signal.SIGUSR1)
                    said.append(capfd.readouterr().err)
                    return max(map(int, re.findall(r'"strays": (\d+)', "".join(said))), default=0)

                said: list[str] = []
                eventually(lambda: strays() > 0)
                os.kill(broker, signal.SIGCONT)
                (tmp_path / "gate").touch()
                got += list(stream)
                assert got == list(range(3000))
                assert list(client.map(["own"], pipeline="q")) == ["own"]
                assert (tmp_path / "other").read_text() == "own\n", "it ran no foreign task"
        finally:
            elsewhere.stop()
            thread.join()
            elsewhere.close()


def _tcp_endpoint(pid: int) -> str:
    """Where a process listens."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return f"tcp://127.0.0.1:{int(fields[1].split(':')[1], 16)}"
    raise AssertionError("it listens nowhere")


def test_names_of_hosts_differ() -> None:
    assert host_name() != "elsewhere"
