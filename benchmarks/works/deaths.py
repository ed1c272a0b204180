"""W10: how long no result comes after each kind of death."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count

from benchmarks.frames import Wrong
from benchmarks.peer import CannotDo, Flow
from benchmarks.work import Begin, Figure, Work

__all__ = ["WORKS"]

VICTIMS: dict[str, tuple[str, ...]] = {
    "no death": (),
    "a worker dies, one is left": ("p.length-0",),
    "all workers die": ("p.length-0", "p.length-0"),
    "the sink dies": ("sink-0",),
    "the broker dies": ("broker",),
}
FEWEST = 50
"""Results to wait for after a death at least, so that work goes on from before it and from after it."""


def run(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Tasks of 5 ms flow through two workers of one stage. In turn, processes are killed with SIGKILL."""
    with begin(Flow(("length",), workers=2)) as peer:
        if not peer.restarts:
            raise CannotDo("it starts no process again")
        results = peer.stream((b"x" * (i % 100) for i in count()), 100)
        with closing(results):
            number = 0
            for name, victims in VICTIMS.items():
                running = peer.processes()
                for victim in set(victims):
                    for pid in running[victim][: victims.count(victim)]:
                        os.kill(pid, signal.SIGKILL)
                began = last = time.perf_counter()
                longest = 0.0
                for got, result in enumerate(results, 1):
                    if result != number % 100:
                        raise Wrong(f"result {number} is {result!r}")
                    number += 1
                    now = time.perf_counter()
                    longest, last = max(longest, now - last), now
                    if now > began + max(seconds, 0.5) and got >= FEWEST:
                        break
                yield Figure(f"s without results: {name}", longest, less=True)


WORKS = [Work("W10", "the longest time without results after each kind of death", run, limit=60)]
