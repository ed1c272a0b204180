"""What workers cost that run: sockets and open files of each, and the CPU of the whole when nothing is to do.

    python -m benchmarks.idle              two stages of 16 workers each, then of 64
    python -m benchmarks.idle 8 --seconds 10
    python -m benchmarks.idle 64 --peers 6 with a bound of the workers that each one sends to

``zturbo up`` runs with a network file of two stages on this host. One job of some thousand tasks goes through
them. Descriptors are counted in ``/proc`` meanwhile and afterwards; the figure is the highest of any worker.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import repeat

from benchmarks import processes
from benchmarks.peer import Flow
from benchmarks.peers.zturbo import Here

__all__ = ["Found", "main", "measure"]

NAP = 0.5
"""Seconds that a task takes in the second stage. In the first it takes none, so tasks wait for the second."""
TASKS = 80
"""Tasks for each worker of a stage."""
LOOKS = 16
"""How often sockets are counted while they run."""
REST = 15.0
"""Seconds after the start, and after the last result: sockets that are not used are closed meanwhile."""


@dataclass
class Found:
    """What was counted at one number of workers."""

    workers: int
    """Of each of the two stages."""
    most: Counter[str] = field(default_factory=Counter)
    """While tasks run: most sockets and open files of any worker at any time."""
    late: Counter[str] = field(default_factory=Counter)
    """The same when half of the tasks have run."""
    idle: Counter[str] = field(default_factory=Counter)
    """The same when nothing was sent for a while."""
    cpu: dict[str, float] = field(default_factory=dict)
    """Milliseconds of CPU a second: of a worker on average, the broker, the sink, and all together."""

    def row(self) -> str:
        """A row of the table."""
        counts = [f"{at['socket']}, {at['all']}" for at in (self.most, self.late, self.idle)]
        times = [f"{self.cpu[name]:.1f} ms" for name in ("worker", "broker", "sink", "all")]
        return f"| 2 × {self.workers} | " + " | ".join(counts + times) + " |"


def descriptors(pids: Iterable[int]) -> Counter[str]:
    """The most sockets, and open files in all, that any of these processes has."""
    most: Counter[str] = Counter()
    for pid in pids:
        kinds: Counter[str] = Counter()
        folder = f"/proc/{pid}/fd"
        for name in os.listdir(folder) if os.path.exists(folder) else ():  # it may have been started anew
            try:
                kinds["socket"] += os.readlink(f"{folder}/{name}").startswith("socket:")
                kinds["all"] += 1
            except FileNotFoundError:  # closed meanwhile
                pass
        most |= kinds
    return most


def measure(workers: int, seconds: float, rest: float = REST, peers: int | None = None) -> Found:
    """Start two stages of so many workers each, let tasks through, and count.

    Args:
        workers: of each stage.
        seconds: for which CPU is counted.
        rest: seconds after the start, and after the last result.
        peers: workers of the second stage that one of the first sends to, at most; None for no bound.
    """
    found = Found(workers)
    peer = Here("memory", peers=peers)
    try:
        peer.start(Flow(("same", "nap"), workers=workers))
        pids = peer.processes()
        others = {name: pids.pop(name) for name in [*pids] if not name.startswith("p.")}
        group = [pid for some in pids.values() for pid in some]
        time.sleep(rest)
        results = peer.client.map(repeat(NAP, TASKS * workers), "p", ordered=False)
        for number, _ in enumerate(results):
            if number % (TASKS * workers // LOOKS) == 0:
                now = descriptors(group)
                found.most |= now
                if number >= TASKS * workers // 2:
                    found.late |= now
        time.sleep(rest)
        found.idle = descriptors(group)
        before = {pid: processes.cpu_of(pid) for some in (group, *others.values()) for pid in some}
        time.sleep(seconds)
        used = {pid: 1000 * (processes.cpu_of(pid) - at) / seconds for pid, at in before.items()}
        for name in ("broker", "sink"):
            found.cpu[name] = sum(used[pid] for other in others if name in other for pid in others[other])
        found.cpu["worker"] = sum(used[pid] for pid in group) / len(group)
        found.cpu["all"] = sum(used.values())
    finally:
        peer.stop()
    return found


def main(words: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.idle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workers", type=int, nargs="*", default=[16, 64])
    parser.add_argument("--seconds", type=float, default=30.0, help="for which CPU is counted")
    parser.add_argument("--rest", type=float, default=REST, help="seconds before tasks come, and afterwards")
    parser.add_argument("--peers", type=int, help="workers of the next stage that one sends to, at most")
    args = parser.parse_args(words)
    head = ["workers", "at work, at most: sockets, files", "in the second half", "idle: sockets, files"]
    head += ["CPU a second: a worker", "the broker", "the sink", "all"]
    sys.stdout.write(f"| {' | '.join(head)} |\n" + "| --- " * len(head) + "|\n")
    for workers in args.workers:
        sys.stdout.write(measure(workers, args.seconds, args.rest, args.peers).row() + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
