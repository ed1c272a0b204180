"""A cluster of real processes on this host, for tests: a node in a thread, and what it started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from zturbo import Client
from zturbo.deploy.children import broker_child, sink_child, worker_children
from zturbo.deploy.network import Network
from zturbo.runtime.net.host import host_name
from zturbo.runtime.node.children import Child
from zturbo.runtime.node.forking import TITLE, start_forking
from zturbo.runtime.node.node import Node, Seat
from zturbo.runtime.process.boot import MODULES
from zturbo.slotted import replace

__all__ = ["Cluster", "children", "eventually", "stage"]


def stage(name: str, cls: str, workers: int = 1, **args: Any) -> dict[str, Any]:
    """A stage table; ``cls`` is a class of ``tests.stages.basic`` if it names no module."""
    path = cls if ":" in cls else f"tests.stages.basic:{cls}"
    return {"name": name, "class": path, "workers": workers, "args": args}


def eventually(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait until this holds; fails after ``timeout`` seconds, which no working system needs."""
    pause = threading.Event()
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, "this never came to hold"
        pause.wait(0.02)


def children(pid: int) -> list[int]:
    """Processes that this node has started, in whatever thread, without its fork server."""
    try:
        found = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child.pid for child in found if not _is_fork_server(child)]


def _is_fork_server(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return TITLE in process.cmdline()
    return False


class Cluster:
    """A broker, a sink, and workers.

    Args:
        pipelines: name -> list of stage tables.
        options: more keys of each pipeline's table.
        workers: start the workers too.
        lease: seconds.
        path: a folder more to import stages from.
        state: where ledger and spools are kept; a new folder, if it is not given.
        sinks: how many.
        broker: more keys of the broker's table.
        network: a whole network, in place of all that; its workers are the caller's to start.
        address: of this host, where members of other hosts are to reach broker, sinks and workers.
        env: more variables of the processes' environment.
        modules: role -> what ``python -m`` runs for it, in place of the real one.
    """

    def __init__(
        self,
        pipelines: dict[str, list[dict[str, Any]]],
        *,
        workers: bool = True,
        lease: float = 5.0,
        path: str = "",
        state: Path | None = None,
        sinks: int = 1,
        broker: dict[str, Any] | None = None,
        network: Network | None = None,
        address: str | None = None,
        env: dict[str, str] | None = None,
        modules: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="zt-test-")) if state is None else state
        self.address = f"ipc://{self.state}/broker"
        table = {
            "broker": {"bind": self.address, "state": str(self.state), "lease": lease, **(broker or {})},
            "pipeline": [{"name": name, "stage": stages, **options} for name, stages in pipelines.items()],
        }
        if network is None:
            network = Network.parse(table, str(self.state / "network.toml"))
        self.network = network
        self.address = network.broker.bind
        self.events: list[tuple[str, str, str]] = []
        self.processes: dict[int, psutil.Process] = {}
        """All that were ever started, by process id; a later process with the same id is another one."""
        self.away: set[str] = set()
        """Names of children that are not started again until :meth:`let_back`."""
        self.took: dict[int, float] = {}
        """Process -> seconds from its start to its being ready."""
        env = {**os.environ, **(env or {})}
        if path:
            env["PYTHONPATH"] = os.pathsep.join([path, *sys.path])
        self._forking = start_forking(list(MODULES.values()), env)
        self.node = Node(
            self.address,
            host=host_name(),
            lease=lease,
            on_event=self._note,
            env=env,
            forking=self._forking,
        )
        services = [broker_child(self.network, address=address)]
        services += [sink_child(self.network, number, address=address) for number in range(sinks)]
        for child in services:
            self.node.add(replace(child, module=(modules or {}).get(child.role, child.module)))
        if workers:
            for name, stages in pipelines.items():
                for table in stages:
                    for child in worker_children(self.network, f"{name}.{table['name']}", address=address):
                        self.node.add(child)
        self.thread = threading.Thread(target=self.node.run, name="node")
        self.thread.start()

    def _note(self, kind: str, child: Child, text: str) -> None:
        if child.pid not in self.processes or not self.processes[child.pid].is_running():
            with contextlib.suppress(psutil.NoSuchProcess):
                self.processes[child.pid] = psutil.Process(child.pid)
        if kind == "ready":
            self.took[child.pid] = time.monotonic() - child.started
        if kind == "exited" and child.what.name in self.away:
            self._seat(child.what.name).start_at = None
        self.events.append((kind, child.what.name, text))

    def _seat(self, name: str) -> Seat:
        return next(seat for seat in self.node.seats if seat.what.name == name)

    def client(self) -> Client:
        """A new client."""
        return Client(self.address, timeout=20)

    def child(self, name: str) -> Child:
        """A running, ready child of this name."""
        found: list[Child] = []

        def there() -> bool:
            found[:] = [c for c in self.node.children if c.what.name == name and c.is_ready]
            return bool(found)

        eventually(there)
        return found[0]

    def kill(self, name: str) -> int:
        """SIGKILL one child of this name; returns its pid. If it has just ended, the next one is awaited."""
        killed: list[int] = []

        def kill() -> bool:
            pid = self.child(name).pid
            with contextlib.suppress(ProcessLookupError):  # the node has reaped it, and is about to note that
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            return bool(killed)

        eventually(kill)
        return killed[0]

    def kill_and_keep_away(self, name: str) -> None:
        """SIGKILL the child of this name; there is no other before :meth:`let_back`."""
        child = self.child(name)
        self.away.add(name)
        os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: self._seat(name).child is None)

    def let_back(self, name: str) -> None:
        """Start what was kept away."""
        self.away.remove(name)
        self._seat(name).start_at = 0.0
        self.node.wake()

    def close(self) -> None:
        """Stop everything; fails if something stays behind."""
        self.node.stop()
        self.thread.join()
        folder = self.node.folder
        self.node.close()
        if self._forking is not None:
            self._forking.close()
        left = [pid for pid, process in self.processes.items() if process.is_running()]
        assert not left, f"processes {left} stayed behind"
        assert not folder.exists(), "socket files stayed behind"
        shutil.rmtree(self.state)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
