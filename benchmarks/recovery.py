"""How long results pause after a death, and how long small jobs take beside a large one.

    python -m benchmarks.recovery [--rounds 5]

Tasks of 5 ms flow through two workers of one stage. Each round kills with SIGKILL, in turn, one worker, both
workers, the sink, and the broker. It measures the longest pause between two results in the 3 s after.
For comparison, it prints the time of a worker's bare start. Then ten jobs of ten tasks run beside a job of a
million.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from statistics import median
from threading import Event

from benchmarks.local import machine, pipeline
from zturbo import Client
from zturbo.runtime.node.node import Node

STAGES = [{"name": "work", "class": "examples.toy.noop:Length", "workers": 2, "args": {"seconds": 0.005}}]
WATCHED = 3.0
"""Seconds after a death in which pauses are measured."""

VICTIMS = {"a worker, one left": 1, "all workers of a stage": 2, "the sink": "sink", "the broker": "broker"}


def pause(stream: Iterator[object]) -> float:
    """The longest pause between two results, in seconds."""
    times = [time.monotonic()]
    for _ in stream:
        times.append(time.monotonic())
        if times[-1] > times[0] + WATCHED:
            break
    return max(after - before for before, after in pairwise(times))


def kill(node: Node, whom: int | str) -> None:
    """Kill a number of workers, or the child whose name begins so, once all children are ready."""
    calm = Event()
    while not node.ready:
        calm.wait(0.01)
    start = "p." if isinstance(whom, int) else whom
    victims = [child for child in node.children if child.what.name.startswith(start)]
    for child in victims[: whom if isinstance(whom, int) else 1]:
        os.kill(child.pid, signal.SIGKILL)


def bare_start(node: Node) -> float:
    """Seconds from a worker's start until it is ready."""
    kill(node, 1)
    began = time.monotonic()
    calm = Event()
    while node.ready:
        calm.wait(0.001)
    while not node.ready:
        calm.wait(0.001)
    return time.monotonic() - began


def small_jobs(client: Client) -> float:
    """Seconds for ten jobs of ten tasks, one after another, beside a job of a million."""
    with closing(client.map([b"x"] * 10**6, "p")) as large:
        next(large)
        began = time.monotonic()
        for _ in range(10):
            assert len(list(client.map([b"x"] * 10, "p"))) == 10
        return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--durability", default="fsync")
    args = parser.parse_args()
    print(f"{machine()}; durability {args.durability}, {args.rounds} rounds; seconds")
    pauses: dict[str, list[float]] = defaultdict(list)
    with pipeline(STAGES, args.durability) as (client, node):
        for _ in range(args.rounds):
            with closing(client.map([b"x"] * 10**6, "p")) as stream:
                next(stream)
                pauses["nobody"].append(pause(stream))
                for name, whom in VICTIMS.items():
                    kill(node, whom)
                    pauses[name].append(pause(stream))
            pauses["(a worker's bare start)"].append(bare_start(node))
        pauses["(ten small jobs)"] = [small_jobs(client) for _ in range(args.rounds)]
    print(f"{'killed':26}{'median':>8}{'longest':>9}")
    for name, values in pauses.items():
        print(f"{name:26}{median(values):8.2f}{max(values):9.2f}")


if __name__ == "__main__":
    main()
