"""Nodes that are killed: their workers end themselves, and nothing is left for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support.cluster import children, eventually
from tests.support.four_hosts import (
    Run,
)
from tests.support.hosts import Hosts
from zturbo.runtime.disk.folders import QUIET
from zturbo.runtime.node.node import Node

ROOT = Path(__file__).parents[3]


def test_a_node_that_is_killed_leaves_no_orphans(hosts: Hosts) -> None:
    run = Run(hosts)
    run.until(500)
    node = hosts.processes[3]  # of host c; "ip netns exec" has become it
    started = children(node.pid)
    assert started
    os.kill(node.pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
    run.end()


def test_the_folder_of_a_node_that_is_killed_with_its_children_is_removed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(prefix="zt-node-") as name:
        folder = Path(name)
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        monkeypatch.setenv("ZTURBO_READY_FILE", str(folder / "ready"))
        words = ["up", str(ROOT / "examples/toy/toy.toml"), "--no-progress", "--state", str(folder / "state")]
        bind = ["--bind", f"ipc://{folder}/b"]
        up = subprocess.Popen([sys.executable, "-m", "zturbo", *words, *bind], cwd=ROOT)
        started = psutil.Process(up.pid)
        try:
            eventually((folder / "ready").exists)
        finally:
            everyone = [*started.children(recursive=True), started]
            for process in everyone:  # so that none of them sees another's end
                process.suspend()
            for process in everyone:
                process.kill()
            up.wait()
            psutil.wait_procs(everyone, 30)
        (left,) = folder.glob("zturbo-*")
        assert list(left.iterdir())
        before = left.stat().st_mtime - QUIET - 1
        os.utime(left, (before, before))
        node = Node(f"ipc://{folder}/b", host="host")
        assert not left.exists()
        node.close()
        assert not list(folder.glob("zturbo-*"))
