"""A network on seven hosts: the broker, the sink, three that work, one that is free, and one for clients."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster import eventually
from tests.support.hosts import Hosts
from zturbo import Client

__all__ = ["BROKER", "CLIENTS", "FREE", "LEASE", "SINK", "WORK", "LabNetwork"]

LEASE = 4.0
"""Seconds."""

ADDRESS = "10.99.0.99"
"""The broker's own address, which moves with it from host to host."""

BROKER = f"tcp://{ADDRESS}:5555"

FIRST, FREE, SINK, CLIENTS = "a", "e", "s", "k"
"""Hosts: the broker's at first, one that is free, the sink's, the clients'."""

WORK = {
    "b": {"keep": ["first", "second"], "anew": ["first"]},
    "c": {"keep": ["first"], "anew": ["first", "sum"]},
    "d": {"keep": ["second"], "anew": ["sum"]},
}
"""Host -> pipeline -> the stages that have a worker there: of each stage there are two, on two hosts."""

STAGES = """
import time
from zturbo import ReorderStage, Stage, Task

VERSION = {version}

class First(Stage):
    def process(self, task):
        time.sleep(0.005)
        return Task([task.content, VERSION, bytes(1000)])

class Second(Stage):
    def process(self, task):
        value, version, _ = task.content
        return Task([value, version, VERSION])

class Sum(ReorderStage):
    def reset(self):
        self.total = 0

    def process(self, task):
        value, version, _ = task.content
        self.total = (self.total * 31 + value) % 1_000_003
        return Task([value, version, VERSION, self.total])
"""

FILE = """
[broker]
bind = "{broker}"
state = "{state}"
lease = {lease}

[[pipeline]]
name = "keep"
stage = [{{ name = "first", class = "lab_stages:First" }}, {{ name = "second", class = "lab_stages:Second" }}]

[[pipeline]]
name = "anew"
code = "restart"
stage = [{{ name = "first", class = "lab_stages:First" }}, {{ name = "sum", class = "lab_stages:Sum" }}]
"""


@dataclass
class Unit:
    """A node on a host, with workers of one pipeline and one version of the code."""

    host: str
    pipeline: str
    version: int
    stages: list[str]
    process: subprocess.Popen[bytes]


class LabNetwork:
    """Hosts with a network on them. This process is on the clients' host from here on.

    Args:
        hosts: made, with nobody on them.
    """

    NAMES = (FIRST, *WORK, FREE, SINK, CLIENTS)

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.version = 1
        self.units: list[Unit] = []
        self.broker_host = FIRST
        self._moves = 0
        self._muted: Counter[tuple[str, str]] = Counter()
        self._lock = threading.RLock()
        hosts.enter(CLIENTS)
        self._state = hosts.folder / "broker-0"
        hosts.ip(FIRST, "addr", "add", f"{ADDRESS}/24", "dev", "eth0")
        self._broker = self._start_broker()
        self._sink = self._start_sink()
        for host, pipelines in WORK.items():
            for pipeline, stages in pipelines.items():
                self.add(host, pipeline, stages)

    # -- processes ----------------------------------------------------------------------------
    def _file(self, name: str, state: Path) -> str:
        path = self.hosts.folder / f"{name}.toml"
        path.write_text(FILE.format(broker=BROKER, state=state, lease=LEASE))
        return str(path)

    def _start_broker(self) -> subprocess.Popen[bytes]:
        file = self._file(f"broker-{self._moves}", self._state)
        return self.hosts.run(self.broker_host, "zturbo", "broker", file, "--insecure")

    def _start_sink(self) -> subprocess.Popen[bytes]:
        file = self._file("sink", self.hosts.folder / "sink")
        words = ("sink", file, "--insecure", "--broker", BROKER, "--address", self.hosts.address[SINK])
        return self.hosts.run(SINK, "zturbo", *words)

    def code(self) -> Path:
        """The folder with the code of this version: each version has its own, as in a release."""
        folder = self.hosts.folder / f"code-{self.version}"
        if not folder.exists():
            folder.mkdir()
            (folder / "lab_stages.py").write_text(STAGES.format(version=self.version))
        return folder

    def add(self, host: str, pipeline: str, stages: list[str]) -> Unit:
        """Start a node with a worker of each of these stages, with the newest code."""
        unit = Unit(host, pipeline, self.version, stages, self._node(host, pipeline, stages, self.code()))
        self.units.append(unit)
        return unit

    def _node(self, host: str, pipeline: str, stages: list[str], code: Path) -> subprocess.Popen[bytes]:
        file = self._file("work", self.hosts.folder / "work")
        words = [file, self.hosts.address[host], *(f"{pipeline}.{stage}" for stage in stages)]
        env = {**os.environ, "PYTHONPATH": f"{code}{os.pathsep}{os.getcwd()}"}
        return self.hosts.run(host, "tests.chaos.node", *words, env=env)

    def remove(self, unit: Unit) -> None:
        """Let a node go, after what its workers have begun."""
        with self._lock:
            self.units.remove(unit)
        unit.process.send_signal(signal.SIGTERM)
        unit.process.wait(timeout=60)

    def there(self, pipeline: str, workers: int) -> None:
        """Wait until each stage of a pipeline has so many workers, new and old."""
        with Client(BROKER, timeout=120) as client:

            def joined() -> bool:
                (found,) = (line for line in client.pipelines() if line["name"] == pipeline)
                return min(found["workers"]) >= workers

            eventually(joined, timeout=120)

    # -- what happens to hosts ----------------------------------------------------------------
    def dies(self, host: str) -> None:
        """Each process on a host is killed at once, as by a power cut."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.hosts.namespaces[host]], check=True, capture_output=True, text=True
        )
        for pid in map(int, listed.stdout.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def starts(self, host: str) -> None:
        """What was on a host that has died is started again there, with the code that it had."""
        with self._lock:
            if host == SINK:
                self._sink = self._start_sink()
            elif host == self.broker_host:
                self._broker = self._start_broker()
            for unit in self.units:
                if unit.host == host:
                    code = self.hosts.folder / f"code-{unit.version}"
                    unit.process = self._node(host, unit.pipeline, unit.stages, code)

    def move_broker(self) -> str:
        """Stop the broker, and start it on the other host that may have it, with a copy of its ledger.

        Returns:
            The host where it is now.
        """
        with self._lock:
            self._broker.send_signal(signal.SIGTERM)
            self._broker.wait(timeout=60)
            old, self._state = self._state, self.hosts.folder / f"broker-{self._moves + 1}"
            self._moves += 1
            shutil.copytree(old, self._state, ignore=lambda _, names: [n for n in names if ".lock" in n])
            self.hosts.ip(self.broker_host, "addr", "del", f"{ADDRESS}/24", "dev", "eth0")
            self.broker_host = FREE if self.broker_host == FIRST else FIRST
            self.hosts.ip(self.broker_host, "addr", "add", f"{ADDRESS}/24", "dev", "eth0")
            for host in self.NAMES:  # as the switch of a real network does with the new host's announcement
                self.hosts.ip(host, "neigh", "flush", "to", ADDRESS)
            self._broker = self._start_broker()
            return self.broker_host

    @contextmanager
    def cut(self, pairs: list[tuple[str, str]]) -> Iterator[None]:
        """For each (host, other host): what the first sends does not reach the other one."""
        with self._lock:
            for pair in pairs:
                self._muted[pair] += 1
                if self._muted[pair] == 1:
                    for address in self._addresses(pair[1]):
                        self.hosts.ip(pair[0], "route", "add", "blackhole", f"{address}/32")
        try:
            yield
        finally:
            with self._lock:
                for pair in pairs:
                    self._muted[pair] -= 1
                    if not self._muted[pair]:
                        for address in self._addresses(pair[1]):
                            self.hosts.ip(pair[0], "route", "del", "blackhole", f"{address}/32")

    def _addresses(self, host: str) -> list[str]:
        """The broker does not move while links are cut."""
        own = self.hosts.address[host]
        return [own, ADDRESS] if host == self.broker_host else [own]

    @contextmanager
    def slow(self, host: str, rate: str) -> Iterator[None]:
        """A host sends no more than so much, such as ``256kbit``, and the queue before its link is short."""
        shaper = ("tbf", "rate", rate, "burst", "10kb", "latency", "200ms")
        self.hosts.shape(host, "add", *shaper)
        try:
            yield
        finally:
            self.hosts.shape(host, "del")

    def close(self) -> str:
        """What the processes have said; the caller removes the hosts."""
        return self.hosts.logs()
