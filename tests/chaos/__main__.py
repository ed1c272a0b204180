"""Real processes under a seeded schedule of faults, beside loads whose results are known.

Each round picks a load and one fault, two, or three, from the seed; it runs the load, does the faults while
results flow, some of them at the same time, and compares every result. It prints what it did, how long
results stood still after each fault, which tasks were run again, the peak memory of each process, how often
each fault hit, and a verdict.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.faults import LEASE, PROCESSES, Victims
from tests.chaos.hosts import BROKER, OtherHosts
from tests.chaos.jobs import HOLD, JOBS, SHARE
from tests.chaos.loads import ASIDE, LOADS, Load, pipelines
from tests.support.clock import Clock
from tests.support.cluster import Cluster
from tests.support.hosts import Hosts, need_hosts
from tests.support.memory import small_memory

FAULTS = {**PROCESSES, **JOBS}
"""Name -> what does it to those who work for a pipeline; it says whom it hit, None if nobody was there."""

DISK = "1g"
"""Size of the disk that is filled."""


class Chaos:
    """One run.

    Args:
        cluster: what is to suffer.
        victims: whom faults may hit.
        rng: everything that is chosen comes of it.
        folder: where stages note what they run.
    """

    def __init__(self, cluster: Cluster, victims: Victims, rng: random.Random, folder: Path) -> None:
        self.cluster = cluster
        self.victims = victims
        self.rng = rng
        self.folder = folder
        self.peak: Counter[str] = Counter()
        self.recoveries: dict[str, list[float]] = defaultdict(list)
        self.again = self.tasks = self.rounds = 0
        self.problems: list[str] = []

    def say(self, text: str) -> None:
        """A line, with the time."""
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stdout.flush()

    # -- rounds -------------------------------------------------------------------------------
    def round(self, load_name: str, faults: list[str], scale: float) -> None:
        """One load, and these faults while it runs."""
        self.rounds += 1
        self.say(f"round {self.rounds}: {load_name} x {scale:g} with {' and '.join(faults)}")
        for file in self.folder.iterdir():
            file.write_text("")
        with self.cluster.client() as client:
            load = Load(load_name, client, scale)
            outcome: list[str | None] = []

            def run() -> None:
                try:
                    outcome.append(load.run())
                except Exception as error:  # whatever it is, the load was to end well
                    outcome.append(f"{type(error).__name__}: {error}")

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            done = []
            pipeline = "tiny" if load_name == "clients" else load_name
            for number, fault in enumerate(faults):
                if number == 0 or self.rng.random() < 0.5:  # else both at once
                    thread.join(0.15 + self.rng.random() * 0.7)
                if thread.is_alive():
                    at = time.monotonic()
                    hit = FAULTS[fault](self.victims, pipeline)
                    self.say(f"    {fault}: {hit or 'nobody is there'}")
                    if hit is not None:
                        done.append((at, fault))
            thread.join(timeout=180)
            if thread.is_alive():
                jobs = [job for job in client.jobs() if job["state"] in ("running", "waiting")]
                outcome.append(f"it does not end: {jobs}")
            problems = [*outcome[:1], *self.victims.end()]
        for at, fault in done:
            gap = max(
                (gap for start, gap in load.gaps if start <= at + 0.5 and start + gap > at), default=0.0
            )
            self.recoveries[fault].append(gap)
            self.say(f"    after {fault} results stood still for {gap:.2f} s")
        self._measure()
        for problem in problems:
            if problem is not None:
                self.problems.append(f"round {self.rounds} ({load_name}, {faults}): {problem}")
                self.say(f"    WRONG: {problem}")

    def _measure(self) -> None:
        for file in self.folder.iterdir():
            words = file.read_text().split()
            counts = Counter(word for word in words if word.isdigit() and int(word) < ASIDE)
            self.tasks += len(counts)
            self.again += sum(counts.values()) - len(counts)
        for child in self.cluster.node.children:
            try:
                status = Path(f"/proc/{child.pid}/status").read_text()
                peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
            except (OSError, IndexError):
                continue
            self.peak[child.what.name] = max(self.peak[child.what.name], peak)

    def verdict(self) -> int:
        """Print the sum of it; the exit status."""
        self.say("after a fault results stood still for, in seconds:")
        for fault in FAULTS:
            gaps = sorted(self.recoveries[fault])
            if gaps:
                median, longest = gaps[len(gaps) // 2], gaps[-1]
                self.say(f"    {fault:12} {len(gaps):4} x, median {median:5.2f}, longest {longest:5.2f}")
            else:
                self.say(f"    {fault:12} hit nobody")
        self.say(f"of {self.tasks} tasks that were noted, {self.again} executions were repeats")
        self.say("peak memory, MB: " + ", ".join(f"{name} {mb}" for name, mb in sorted(self.peak.items())))
        for problem in self.problems:
            self.say(problem)
        self.say(
            f"{self.rounds} rounds: " + (f"{len(self.problems)} WRONG" if self.problems else "all right")
        )
        return 1 if self.problems else 0


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk that may be filled."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass
class Surroundings:
    """More hosts, a disk to fill, little memory, a clock that steps: as far as this machine has them."""

    others: OtherHosts | None = None
    disk: Path | None = None
    group: Path | None = None

    @classmethod
    def of(cls, stack: ExitStack, folder: Path) -> Surroundings:
        """Made, and removed by the stack; where something cannot be made, it says which faults hit nobody."""
        around = cls()
        clock = None
        with _or_without("clock"):
            clock = Clock(folder / "clock")
        with _or_without("memory"):
            group = stack.enter_context(small_memory())
            around.group = Path(f"/proc/{os.getpid()}/root{group}")  # hosts have a /sys of their own
        with _or_without("clock, disk-full, node, part and unplug"):
            need_hosts()
            stack.enter_context(small_disk(folder / "disk"))
            around.disk = folder / "disk"
            around.others = OtherHosts(stack.enter_context(Hosts(["a", "b", "c"])), clock)
        return around


@contextmanager
def _or_without(what: str) -> Iterator[None]:
    try:
        yield
    except pytest.skip.Exception as error:
        sys.stdout.write(f"nobody for {what} here: {error}\n")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (default: 2)")
    parser.add_argument("--seed", type=int, help="default: one that nobody has seen; it is printed")
    parser.add_argument("--load", choices=sorted(LOADS), help="this load alone")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="this fault alone")
    args = parser.parse_args()
    seed = int.from_bytes(os.urandom(3), "big") if args.seed is None else args.seed
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has had SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    rng = random.Random(seed)
    end = time.monotonic() + 60 * args.minutes
    folder = Path(tempfile.mkdtemp(prefix="zt-chaos-"))
    notes = folder / "notes"
    notes.mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        around = Surroundings.of(stack, folder)
        group = around.group
        cluster = stack.enter_context(
            Cluster(
                pipelines(notes, hold=HOLD, cgroup="" if group is None else str(group)),
                lease=LEASE,
                state=None if around.disk is None else around.disk / "state",
                broker={"spool_share": SHARE, **({"bind": BROKER} if around.others else {})},
                address="10.99.0.1" if around.others else None,
            )
        )
        if around.others is not None:
            around.others.start(cluster)
        victims = Victims(cluster, rng, around.others, around.disk, group)
        chaos = Chaos(cluster, victims, rng, notes)
        chaos.say(f"seed {seed}, {args.minutes:g} minutes, lease {LEASE:g} s")
        try:
            while time.monotonic() < end:
                load = args.load or rng.choice(sorted(LOADS))
                faults = [args.fault or rng.choice(sorted(FAULTS)) for _ in range(rng.choice([1, 1, 2, 3]))]
                chaos.round(load, faults, rng.choice([0.5, 1, 2]))
        except KeyboardInterrupt:
            chaos.verdict()
            return 130
        return chaos.verdict()


if __name__ == "__main__":
    sys.exit(main())
