"""What is done to processes, hosts, links and disks while results flow.

Each says whom it hit; None if nobody was there.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.chaos.hosts import WORK, OtherHosts
from tests.support.cluster import Cluster, eventually
from zturbo.deploy.children import worker_children
from zturbo.runtime.node.children import Child

__all__ = ["LEASE", "PROCESSES", "Victims"]

LEASE = 2.0
"""Seconds, of the cluster."""

AWAY = (1.0, 4.0, 20.0)
"""Seconds for which a broker is down."""

FULL = 2.0
"""Seconds for which a disk is full."""

STEPS = ("+9h", "-7h", "+200d", "-200d", "+0")
"""Where a wall clock may step to."""


class Victims:
    """Those whom faults may hit.

    Args:
        cluster: on this host.
        rng: chooses among them.
        others: more hosts, if there are.
        disk: where the cluster's state is, if that disk is the run's alone and may be filled.
        group: a control group with little memory, if there is one.
    """

    def __init__(
        self,
        cluster: Cluster,
        rng: random.Random,
        others: OtherHosts | None,
        disk: Path | None,
        group: Path | None,
    ) -> None:
        self.cluster = cluster
        self.rng = rng
        self.others = others
        self.disk = disk
        self.group = group
        self.problems: list[str] = []
        self._stopped: set[int] = set()
        self._aside: list[threading.Thread] = []
        self._full = threading.Lock()

    def children(self, start: str) -> list[Child]:
        """Those that are ready and are not stopped, by the beginning of their name."""
        return [
            child
            for child in self.cluster.node.children
            if child.is_ready and child.what.name.startswith(start) and child.pid not in self._stopped
        ]

    def send(self, children: list[Child], number: int) -> str | None:
        """Send it to all of them."""
        for child in children:
            try:
                os.kill(child.pid, number)
            except ProcessLookupError:
                pass
        return ", ".join(f"{child.what.name} ({child.pid})" for child in children) or None

    def aside(self, what: Callable[[], str | None]) -> None:
        """Do it while the load goes on; what it returns or raises is a problem."""

        def run() -> None:
            try:
                problem = what()
            except Exception as error:  # whatever it is, it was to go well
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                self.problems.append(problem)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._aside.append(thread)

    def end(self) -> list[str]:
        """Wait for all that is done aside; what went wrong with it."""
        for thread in self._aside:
            thread.join(timeout=120)
            if thread.is_alive():
                self.problems.append("what was done beside the load does not end")
        self._aside.clear()
        problems, self.problems = self.problems, []
        return problems

    # -- faults -------------------------------------------------------------------------------
    def kill(self, pipeline: str, number: int = signal.SIGKILL) -> str | None:
        """One worker."""
        workers = self.children(f"{pipeline}.")
        return self.send([self.rng.choice(workers)], number) if workers else None

    def crash(self, pipeline: str) -> str | None:
        """One worker, as by its own code."""
        return self.kill(pipeline, self.rng.choice([signal.SIGSEGV, signal.SIGABRT]))

    def term(self, pipeline: str) -> str | None:
        """One worker is told to leave."""
        return self.kill(pipeline, signal.SIGTERM)

    def kill_stage(self, pipeline: str) -> str | None:
        """All workers of a stage."""
        workers = self.children(f"{pipeline}.")
        if not workers:
            return None
        return self.send(self.children(self.rng.choice(workers).what.name), signal.SIGKILL)

    def upstream(self, pipeline: str) -> str | None:
        """A worker, and one of the stage above it."""
        first = {worker.what.name: worker for worker in reversed(self.children(f"{pipeline}."))}
        names = [
            name for name in dict.fromkeys(c.what.name for c in self.cluster.node.children) if name in first
        ]
        at = self.rng.randrange(max(1, len(names) - 1))
        return self.send([first[name] for name in names[at : at + 2]], signal.SIGKILL)

    def sink(self, pipeline: str) -> str | None:
        """The sink."""
        return self.send(self.children("sink")[:1], signal.SIGKILL)

    def broker(self, pipeline: str) -> str | None:
        """The broker; it is started again at once."""
        return self.send(self.children("broker")[:1], signal.SIGKILL)

    def broker_away(self, pipeline: str) -> str | None:
        """The broker; it stays down for seconds."""
        children = self.children("broker")[:1]
        if not children:
            return None
        (seat,) = (seat for seat in self.cluster.node.seats if seat.what is children[0].what)
        seconds = self.rng.choice(AWAY)

        def down() -> None:
            eventually(lambda: seat.child is not children[0])
            if seat.child is None:
                seat.start_at = time.monotonic() + seconds

        hit = self.send(children, signal.SIGKILL)
        self.aside(down)
        return f"{hit} for {seconds:g} s"

    def stop(self, pipeline: str) -> str | None:
        """One worker stands still past its lease, and goes on."""
        workers = self.children(f"{pipeline}.")
        if not workers:
            return None
        child = self.rng.choice(workers)
        self._stopped.add(child.pid)
        hit = self.send([child], signal.SIGSTOP)

        def go_on() -> None:
            time.sleep(LEASE + 1.5)
            self.send([child], signal.SIGCONT)
            self._stopped.discard(child.pid)

        self.aside(go_on)
        return hit

    def scale(self, pipeline: str) -> str | None:
        """Two more workers of a stage come, work for a while, and leave."""
        workers = self.children(f"{pipeline}.")
        if not workers:
            return None
        name = self.rng.choice(workers).what.name
        more = worker_children(self.cluster.network, name, 2, address=self.others and "10.99.0.1")

        def come_and_go() -> None:
            node = self.cluster.node
            for child in more:
                node.add(child)
            eventually(lambda: sum(c.what in more and c.is_ready for c in node.children) == 2, timeout=60)
            time.sleep(1.0)
            for child in more:
                node.remove(child)
            eventually(lambda: not any(c.what in more for c in node.children), timeout=60)

        self.aside(come_and_go)
        return f"two more of {name}"

    def clock(self, pipeline: str) -> str | None:
        """The wall clock of a host steps, and stays there."""
        others = self.others
        if others is None or others.clock is None or not _works_on("c", pipeline):
            return None
        step = self.rng.choice(STEPS)
        others.clock.step(step)
        return f"host c is at {step}"

    def disk_full(self, pipeline: str) -> str | None:
        """The disk of ledger and spool is full for a while."""
        if self.disk is None or not self._full.acquire(blocking=False):
            return None
        ballast = self.disk / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

        def free() -> None:
            time.sleep(FULL)
            ballast.unlink()
            self._full.release()

        self.aside(free)
        return f"for {FULL:g} s"

    def node(self, pipeline: str) -> str | None:
        """A node is killed, on another host."""
        others, host = self.others, self._other(pipeline)
        if others is None or host is None:
            return None
        self.aside(lambda: others.kill_node(host))
        return f"on host {host}"

    def unplug(self, pipeline: str) -> str | None:
        """Another host is cut off, for less than its lease or for more."""
        others, host = self.others, self._other(pipeline)
        if others is None or host is None:
            return None
        seconds = self.rng.choice([LEASE / 2, LEASE + 2])
        self.aside(lambda: others.cut(host, seconds))
        return f"host {host} for {seconds:g} s"

    def part(self, pipeline: str) -> str | None:
        """Two hosts do not reach each other, though both reach the broker."""
        others = self.others
        if others is None or self._other(pipeline) is None:
            return None
        seconds = self.rng.choice([LEASE / 2, LEASE + 2])
        self.aside(lambda: others.part(seconds))
        return f"hosts b and c for {seconds:g} s"

    def _other(self, pipeline: str) -> str | None:
        """A host that works for this pipeline."""
        hosts = [host for host in WORK if _works_on(host, pipeline)]
        return self.rng.choice(hosts) if hosts else None


def _works_on(host: str, pipeline: str) -> bool:
    return any(stage.startswith(f"{pipeline}.") for stage in WORK[host])


def _names() -> Iterator[str]:
    for name, what in vars(Victims).items():
        if not name.startswith("_") and name not in ("children", "send", "aside", "end"):
            assert callable(what)
            yield name.replace("_", "-")


PROCESSES: dict[str, Callable[[Victims, str], Any]] = {
    name: getattr(Victims, name.replace("-", "_")) for name in _names()
}
"""Name -> what does it to those who work for a pipeline."""
