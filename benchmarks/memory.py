"""Peak memory of each process while a fast producer feeds large tasks to a slow stage. It should stay flat.

    python -m benchmarks.memory [--tasks 100000] [--size 100000]

Roots stay on the broker's disk until the job ends: 100,000 tasks of 100 kB take about 10 GB there.
"""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks.local import machine, pipeline
from zturbo.runtime.node.node import Node

STAGES = [
    {"name": "fast", "class": "examples.toy.noop:Same"},
    {"name": "slow", "class": "examples.toy.noop:Length", "args": {"seconds": 0.0005}},
]

PARTS = 5
"""Number of parts of the run for which peaks are printed."""


def resident(pid: int) -> int:
    """Megabytes that a process has in memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


class Watch:
    """Records the peak memory of each process."""

    def __init__(self, node: Node) -> None:
        self._pids = {"client": os.getpid()} | {child.what.name: child.pid for child in node.children}
        self._peaks = dict.fromkeys(self._pids, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            for name, pid in self._pids.items():
                self._peaks[name] = max(self._peaks[name], resident(pid))

    def look(self) -> dict[str, int]:
        """Name of each process -> its peak in MB since the last call."""
        peaks, self._peaks = self._peaks, dict.fromkeys(self._pids, 0)
        return peaks

    def close(self) -> None:
        """Stop recording."""
        self._over.set()
        self._thread.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=100_000, help="bytes of one task")
    parser.add_argument("--durability", default="process")
    args = parser.parse_args()
    print(f"{machine()}; {args.tasks} tasks of {args.size} bytes, durability {args.durability}")

    def contents() -> Iterator[bytes]:
        for i in range(args.tasks):
            yield i.to_bytes(8, "big") * (args.size // 8)

    with pipeline(STAGES, args.durability) as (client, node):
        list(client.map([b"warm"] * 10, "p"))
        watch = Watch(node)
        looks = []
        for number, length in enumerate(client.map(contents(), "p"), 1):
            assert length == args.size // 8 * 8
            if number % (args.tasks // PARTS) == 0:
                looks.append(watch.look())
        watch.close()
    print(f"{'peak MB in each fifth':24}" + "".join(f"{i + 1:>8}" for i in range(len(looks))))
    for name in looks[0]:
        print(f"{name:24}" + "".join(f"{look[name]:8}" for look in looks))


if __name__ == "__main__":
    main()
