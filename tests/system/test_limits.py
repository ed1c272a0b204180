"""What is bounded in the midst of a job: fan-outs that are wide."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.cluster import Cluster, stage
from zturbo import Task

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
