"""Real processes under a seeded schedule of faults, beside loads whose results are known.

Each round picks a load and one fault or two, from the seed; it runs the load, does the faults while results
flow, and compares every result. It prints what it did, how long results stood still after each fault, which
tasks were run again, the peak memory of each process, and a verdict.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.chaos.loads import LOADS, Load, pipelines
from tests.system.cluster import Cluster
from zturbo.runtime.children import Child

FAULTS = ["kill", "kill", "kill-stage", "sink", "broker", "stop", "term", "upstream"]
LEASE = 2.0


class Chaos:
    """One run.

    Args:
        cluster: what is to suffer.
        seed: everything that is chosen comes of it.
        folder: where stages note what they run.
    """

    def __init__(self, cluster: Cluster, seed: int, folder: Path) -> None:
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.folder = folder
        self.peak: Counter[str] = Counter()
        self.recoveries: list[float] = []
        self.again = self.tasks = self.rounds = 0
        self.problems: list[str] = []
        self._stopped: set[int] = set()

    def say(self, text: str) -> None:
        """A line, with the time."""
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stdout.flush()

    # -- faults -------------------------------------------------------------------------------
    def _children(self, start: str) -> list[Child]:
        return [
            child
            for child in self.cluster.node.children
            if child.is_ready and child.what.name.startswith(start) and child.pid not in self._stopped
        ]

    def _signal(self, child: Child, number: int) -> None:
        try:
            os.kill(child.pid, number)
        except ProcessLookupError:
            return

    def fault(self, name: str, pipeline: str) -> None:
        """Do it, to those who work for this pipeline."""
        workers = self._children(f"{pipeline}.")
        if name in ("sink", "broker"):
            victims = self._children(name)[:1]
        elif name == "kill-stage" and workers:
            stage = self.rng.choice(workers).what.name
            victims = self._children(stage)
        elif name == "upstream" and workers:  # one worker, and one of the stage above it
            stages = list(dict.fromkeys(worker.what.name for worker in workers))
            at = self.rng.randrange(max(1, len(stages) - 1))
            victims = [self._children(stage)[0] for stage in stages[at : at + 2]]
        else:
            victims = [self.rng.choice(workers)] if workers else []
        number = {"stop": signal.SIGSTOP, "term": signal.SIGTERM}.get(name, signal.SIGKILL)
        for victim in victims:
            self._signal(victim, number)
        if name == "stop":
            for victim in victims:
                self._stopped.add(victim.pid)
                threading.Timer(LEASE + 1.5, self._go_on, (victim,)).start()
        self.say(f"    {name}: {', '.join(f'{v.what.name} ({v.pid})' for v in victims) or 'nobody is there'}")

    def _go_on(self, child: Child) -> None:
        self._signal(child, signal.SIGCONT)
        self._stopped.discard(child.pid)

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
            for fault in faults:
                thread.join(0.15 + self.rng.random() * 0.7)
                if thread.is_alive():
                    done.append((time.monotonic(), fault))
                    pipeline = "tiny" if load_name == "clients" else load_name
                    self.fault(fault, pipeline)
            thread.join(timeout=120)
            if thread.is_alive():
                jobs = [job for job in client.jobs() if job["state"] in ("running", "waiting")]
                outcome.append(f"it does not end: {jobs}")
        for at, fault in done:
            gap = max(
                (gap for start, gap in load.gaps if start <= at + 0.5 and start + gap > at), default=0.0
            )
            self.recoveries.append(gap)
            self.say(f"    after {fault} results stood still for {gap:.2f} s")
        self._measure()
        if outcome[0] is not None:
            self.problems.append(f"round {self.rounds} ({load_name}, {faults}): {outcome[0]}")
            self.say(f"    WRONG: {outcome[0]}")

    def _measure(self) -> None:
        for file in self.folder.iterdir():
            counts = Counter(file.read_text().split())
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
        rest = sorted(self.recoveries)
        if rest:
            middle, worst = rest[len(rest) // 2], rest[-1]
            self.say(f"results stood still after a fault: median {middle:.2f} s, longest {worst:.2f} s")
        self.say(f"of {self.tasks} tasks that were noted, {self.again} executions were repeats")
        self.say("peak memory, MB: " + ", ".join(f"{name} {mb}" for name, mb in sorted(self.peak.items())))
        for problem in self.problems:
            self.say(problem)
        self.say(
            f"{self.rounds} rounds: " + (f"{len(self.problems)} WRONG" if self.problems else "all right")
        )
        return 1 if self.problems else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (default: 2)")
    parser.add_argument("--seed", type=int, help="default: one that nobody has seen; it is printed")
    parser.add_argument("--load", choices=sorted(LOADS), help="this load alone")
    parser.add_argument("--fault", choices=sorted(set(FAULTS)), help="this fault alone")
    args = parser.parse_args()
    seed = int.from_bytes(os.urandom(3), "big") if args.seed is None else args.seed
    end = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory(prefix="zt-chaos-") as name:
        folder = Path(name)
        with Cluster(pipelines(folder), lease=LEASE) as cluster:
            chaos = Chaos(cluster, seed, folder)
            chaos.say(f"seed {seed}, {args.minutes:g} minutes, lease {LEASE:g} s")
            rng = chaos.rng
            while time.monotonic() < end:
                load = args.load or rng.choice(sorted(LOADS))
                faults = [args.fault or rng.choice(FAULTS) for _ in range(rng.choice([1, 1, 2, 3]))]
                chaos.round(load, faults, rng.choice([0.5, 1, 2]))
            return chaos.verdict()


if __name__ == "__main__":
    sys.exit(main())
