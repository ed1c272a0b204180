"""Two more hosts for a chaos run, network namespaces, each with a node that works for some stages."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import psutil

from tests.support.clock import Clock
from tests.support.cluster import Cluster
from tests.support.hosts import Hosts

__all__ = ["BROKER", "WORK", "OtherHosts"]

BROKER = "tcp://10.99.0.1:5555"
"""Where the broker of such a run is."""

WORK = {"b": ["tiny.add", "slow.work", "big.first"], "c": ["tiny.work", "slow.add", "big.second"]}
"""Host -> the stages that have a worker there."""

ALONE = 15.0
"""Seconds after which no worker may be left of a node that was killed."""


class OtherHosts:
    """This process is on host a from here on, with what it starts; nodes are on b and c.

    Args:
        hosts: made, with nobody on it.
        clock: host c's wall clock, which may step; not all hosts', since libfaketime makes processes slow.
    """

    def __init__(self, hosts: Hosts, clock: Clock | None) -> None:
        self.hosts = hosts
        self.clock = clock
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._killing = threading.Lock()
        self._links = threading.Lock()
        hosts.enter("a")

    def start(self, cluster: Cluster) -> None:
        """Start both nodes, for this cluster."""
        self._file = Path(self.hosts.folder / "network.toml")
        self._file.write_text(toml_of(cluster))
        for host in WORK:
            self._start(host)

    def _start(self, host: str) -> None:
        words = ["tests.chaos.node", str(self._file), self.hosts.address[host], *WORK[host]]
        clock = self.clock.env if host == "c" and self.clock is not None else {}
        self.nodes[host] = self.hosts.run(host, *words, env={**os.environ, **clock})

    def kill_node(self, host: str) -> str | None:
        """SIGKILL a node; its workers have to end by themselves. Then another is started.

        Returns:
            What is wrong; None if nothing is.
        """
        with self._killing:  # one of them at a time
            node = self.nodes[host]
            workers = psutil.Process(node.pid).children(recursive=True)
            node.kill()
            node.wait()
            self._start(host)
        _, left = psutil.wait_procs(workers, timeout=ALONE)
        return f"{len(left)} workers outlived their node by {ALONE:g} s" if left else None

    def cut(self, host: str, seconds: float) -> None:
        """Cut a host off for so long, without notice to anybody."""
        self.hosts.unplug(host)
        time.sleep(seconds)
        self.hosts.plug(host)

    def part(self, seconds: float) -> None:
        """b and c do not reach each other for so long; everybody else does. One time after another."""
        with self._links:
            self.hosts.break_link("b", "c")
            time.sleep(seconds)
            self.hosts.mend_link("b", "c")


def toml_of(cluster: Cluster) -> str:
    """A network file of a cluster's network, as far as a node's stages need it."""

    def value(of: object) -> str:
        return f'"{of}"' if isinstance(of, str) else str(of)

    lines = ["[broker]", f'bind = "{cluster.address}"', f"lease = {cluster.network.broker.lease}"]
    for pipeline in cluster.network.pipelines:
        lines += ["[[pipeline]]", f'name = "{pipeline.name}"']
        for stage in pipeline.stages:
            args = ", ".join(f"{key} = {value(arg)}" for key, arg in stage.args.items())
            lines += ["[[pipeline.stage]]", f'name = "{stage.name}"', f'class = "{stage.cls}"']
            lines += [f"workers = 1\nargs = {{ {args} }}"]
    return "\n".join(lines) + "\n"
