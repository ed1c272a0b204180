"""Nodes that are killed: their workers end themselves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.cluster import children, eventually
from tests.support.four_hosts import (
    Run,
)
from tests.support.hosts import Hosts


def test_a_node_that_is_killed_leaves_no_orphans(hosts: Hosts) -> None:
    run = Run(hosts)
    run.until(500)
    node = hosts.processes[3]  # of host c; "ip netns exec" has become it
    started = children(node.pid)
    assert started
    os.kill(node.pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
    run.end()
