"""Workers that are restarted one by one, added, taken away, or busy for long: their work moves on."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

from tests.support.cluster import Cluster, eventually, stage
from tests.support.logged import counts, logged
from zturbo.deploy.children import worker_children


def test_rolling_restart(tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path, 0.002)}) as cluster, cluster.client() as client:
        stream = client.map(range(3000), pipeline="p")
        got = [next(stream) for _ in range(50)]
        old = [child for child in cluster.node.children if child.what.role == "worker"]
        for child in old:
            os.kill(child.pid, signal.SIGTERM)
            eventually(lambda pid=child.pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
            got += [next(stream) for _ in range(100)]
        got += list(stream)
        assert got == list(range(3000))
        for name in ("first", "second"):
            assert counts(tmp_path / name) == Counter(map(str, range(3000))), "drained, not killed"


def test_from_one_worker_to_eight_to_two(tmp_path: Path) -> None:
    stages = [stage("slow", "Log", 1, path=str(tmp_path / "log"), seconds=0.01)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        stream = client.map(range(1500), pipeline="p")
        got = [next(stream) for _ in range(20)]
        for child in worker_children(cluster.network, "p.slow", 7):
            cluster.node.add(child)
        began = time.monotonic()
        eventually(lambda: len([c for c in cluster.node.children if c.is_ready]) == 10)
        got += [next(stream) for _ in range(400)]
        print(f"400 tasks of 10 ms in {time.monotonic() - began:.1f} s with 8 workers, their start included")
        seats = [seat for seat in cluster.node.seats if seat.what.name == "p.slow"]
        for seat in seats[2:]:
            cluster.node.remove(seat.what)
        got += list(stream)
        assert got == list(range(1500))
        eventually(lambda: len([c for c in cluster.node.children if c.what.name == "p.slow"]) == 2)
        assert max(counts(tmp_path / "log").values()) == 1


def test_work_behind_a_slow_task_moves_on() -> None:
    with Cluster({"p": [stage("hang", "Hang", 2, which=100)]}) as cluster, cluster.client() as client:
        stream = client.map(range(2000), pipeline="p", ordered=False)
        seen = {next(stream) for _ in range(1999)}
        assert seen == {*range(2000)} - {100}, "all the others were done while it ran"
        stream.close()
