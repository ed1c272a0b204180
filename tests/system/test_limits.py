"""What is bounded: fan-outs that are wide, jobs of a client that has very many, connections of strangers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import JobHandle, Task
from zturbo.errors import BrokerUnavailable, ResultTimeout

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


def waits_for_room(job: JobHandle) -> bool:
    return (job.status()["waiting"] or "").startswith("room at the broker: ")


def test_a_client_that_floods_is_held_and_another_goes_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    pipelines = {"gate": [stage("gate", "Gate", path=str(gate))], "add": [stage("add", "Add")]}
    with Cluster(pipelines, broker={"client_jobs": 30}) as cluster:
        with cluster.client() as flooding, cluster.client() as other:
            eventually(lambda: all(all(pipeline["workers"]) for pipeline in other.pipelines()))
            first = flooding.submit(
                Task("0"), "gate", wait=True
            )  # without it, a message of any size is taken
            jobs = [first, *flooding.submit_many([Task(str(n)) for n in range(1, 100)], "gate")]
            eventually(lambda: any(map(waits_for_room, jobs)))
            held = next(filter(waits_for_room, jobs))
            with pytest.raises(BrokerUnavailable, match="client_jobs"):
                held.accepted(timeout=0.1)
            with pytest.raises(ResultTimeout, match="not taken the job yet"):
                held.result(timeout=0.1)
            assert list(other.map(range(20), pipeline="add")) == [n + 1 for n in range(20)]
            used = {client["jobs"]: client["refused"] for client in other.describe()["clients"]}
            assert any(number and refused for number, refused in used.items()), used
            gate.touch()
            assert [job.result(60) for job in jobs] == [[str(n)] for n in range(100)]
            flooding.flush(60)
