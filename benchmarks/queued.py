"""What queued jobs cost: jobs of one task, for a stage that has no worker yet.

    python -m benchmarks.queued               100,000 jobs
    python -m benchmarks.queued 1000000

``zturbo up`` runs broker and sink without the stage's workers, so that each job has to wait in the broker. A
client submits jobs, and lets go of their handles. After each tenth a row tells what a job of it cost. Then a
worker starts, and some of the jobs run: the last figure is of that. In a flat column, a job costs the same
whatever the number of others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import psutil

from benchmarks import processes
from benchmarks.peer import Flow
from benchmarks.peers.zturbo import Here
from zturbo import Job, Task

__all__ = ["Row", "main", "measure"]

AT_ONCE = 4096
"""Jobs that are submitted before the client is asked whether the broker has them."""

BROKER_MEMORY = 64 << 30
"""Bytes that the broker's limit is set to: by default, some hundred thousand such jobs are the most."""


class Row:
    """What some more jobs cost.

    Args:
        jobs: all so far.
        more: those of them that this is about.
        seconds: for these.
        cpu: seconds of CPU of the broker, for these.
        nbytes: of the broker's memory, now.
        base: of the broker's memory, without jobs.
    """

    def __init__(self, jobs: int, more: int, seconds: float, cpu: float, nbytes: int, base: int) -> None:
        self.jobs = jobs
        self.rate = more / seconds
        self.cpu = 1e6 * cpu / more
        self.nbytes = nbytes
        self.each = (nbytes - base) / jobs

    def __str__(self) -> str:
        memory = f"{self.nbytes / 1e6:,.0f} MB | {self.each / 1e3:.1f} kB"
        return f"| {self.jobs:,} | {self.rate:,.0f}/s | {self.cpu:.0f} µs | {memory} |"


def measure(count: int, *, rows: int = 10, drain: float = 10.0) -> Iterator[Row | str]:
    """Queue jobs, then run some of them.

    Args:
        count: how many jobs.
        rows: how many rows tell of them.
        drain: seconds for which a worker runs them afterwards.

    Returns:
        A row for each part of the jobs, and a sentence on how they run.
    """
    peer = Here("process", limits={"memory": BROKER_MEMORY}, idle=True)
    try:
        peer.start(Flow(("add",)))
        client = peer.client
        client.submit(Job("first", Task(0)), pipeline="p", wait=True)
        broker = next(pid for name, pids in peer.processes().items() if "broker" in name for pid in pids)
        base = psutil.Process(broker).memory_info().rss
        done = 1
        for number in range(1, rows + 1):
            last = count * number // rows
            more, began, used = last - done, time.perf_counter(), processes.cpu_of(broker)
            while done < last:
                for _ in range(min(AT_ONCE, last - done)):
                    client.submit(Job("queued", Task(done)), pipeline="p")
                    done += 1
                client.flush()
            seconds, cpu = time.perf_counter() - began, processes.cpu_of(broker) - used
            yield Row(done, more, seconds, cpu, psutil.Process(broker).memory_info().rss, base)
        began = time.perf_counter()
        shown = len(client.describe(most=100)["jobs"])
        yield f"{shown} of {done:,} jobs are listed in {1e3 * (time.perf_counter() - began):.0f} ms."
        rate = _rate(peer, seconds=drain)
        yield f"Beside {done:,} queued jobs, a worker runs {rate:,.0f} of them a second."
    finally:
        peer.stop()


def _rate(peer: Here, seconds: float) -> float:
    """Jobs a second that one worker runs, from the first one that it has run on."""

    def ended() -> int:
        return int(peer.client.describe(most=0)["totals"].get("done", 0))

    peer.start_stage("p.add-0")
    while not (first := ended()):
        time.sleep(0.1)
    began = time.perf_counter()
    time.sleep(seconds)
    return (ended() - first) / (time.perf_counter() - began)


def main(words: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.queued",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("jobs", type=int, nargs="?", default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="for which a worker runs jobs at the end")
    args = parser.parse_args(words)
    head = ["jobs queued", "submitted", "broker's CPU for one", "broker's memory", "of it for each job"]
    sys.stdout.write(f"| {' | '.join(head)} |\n" + "| --- " * len(head) + "|\n")
    for row in measure(args.jobs, drain=args.seconds):
        sys.stdout.write(f"{row}\n" if isinstance(row, Row) else f"\n{row}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
