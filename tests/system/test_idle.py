"""A network that has nothing to do sleeps, whatever the number of its workers: wake-ups are counted. Its
members live on, though their node stands still."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Task

WORKERS = 8

LEASE = 3.0

stand_still = ctypes.PyDLL(None).usleep
"""Keeps the interpreter, and with it the node in this process, from doing anything for some microseconds."""

MOST = 6.0
"""Wake-ups a second that each process may have, of all of its threads together. It is about two."""

WINDOW = 4.0
"""Seconds in which they are counted."""


def wake_ups(pid: int) -> int:
    """How often the threads of a process have gone to sleep so far."""
    lines = [
        line
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    ]
    return sum(int(line.split()[1]) for line in lines)


def test_an_idle_network_sleeps() -> None:
    stages = [stage(name, "tests.stages.contents:Same", WORKERS) for name in "ab"]
    with Cluster({"p": stages}, lease=LEASE) as cluster:
        with cluster.client() as client:
            assert client.submit(Task(1), "p").result() is not None
        counts: dict[int, float] = {}

        def sleeps() -> bool:
            before = {pid: wake_ups(pid) for pid in list(cluster.processes)}
            time.sleep(WINDOW)  # the window of the count, not a wait for something
            counts.update({pid: (wake_ups(pid) - n) / WINDOW for pid, n in before.items()})
            return max(counts.values()) < MOST

        eventually(sleeps, 60)
        assert len(counts) == 2 * WORKERS + 2
        stand_still(int(1.5 * LEASE * 1e6))
        with cluster.client() as client:
            assert client.submit(Task(1), "p").result(timeout=60) is not None
        assert not [event for event in cluster.events if event[0] == "exited"], "all members are alive"
