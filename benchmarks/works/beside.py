"""W12: small jobs beside a large one: a small job must not wait for the large one's end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, takewhile
from threading import Event

from benchmarks.frames import Wrong
from benchmarks.peer import Flow, Peer
from benchmarks.work import Begin, Figure, Work, check_numbers
from benchmarks.works.tasks import WINDOW

__all__ = ["WORKS"]

SMALL = 10
"""Small jobs, one after another."""
TASKS = 10
"""Tasks of a small job."""


def _small(peer: Peer) -> float:
    began = time.perf_counter()
    for _ in range(SMALL):
        check_numbers(list(peer.stream(range(TASKS), WINDOW)), 3, TASKS)
    return time.perf_counter() - began


def _large(peer: Peer, begun: Event, enough: Event) -> int:
    """One job, whose roots end when it is told that there are enough."""
    got = 0
    for got, result in enumerate(peer.stream(takewhile(lambda _: not enough.is_set(), count()), WINDOW), 1):
        if result != got + 2:
            raise Wrong(f"result {got - 1} of the large job is {result!r}, not {got + 2}")
        begun.set()
    return got


def run(begin: Begin, seconds: float) -> Iterator[Figure]:
    """The same small jobs twice, however many seconds there are: alone, and while a large job runs."""
    with begin(Flow(("add", "add", "add"))) as peer:
        list(peer.from_threads(range(8), 2))  # to warm up; a peer that one thread alone may call says so
        yield Figure(f"s for {SMALL} small jobs, alone", _small(peer), less=True)
        begun, enough = Event(), Event()
        with ThreadPoolExecutor(1) as pool:
            large = pool.submit(_large, peer, begun, enough)
            large.add_done_callback(lambda _: begun.set())
            try:
                begun.wait()
                if large.done():
                    large.result()
                yield Figure(f"s for {SMALL} small jobs, beside a large one", _small(peer), less=True)
            finally:
                enough.set()
            large.result()


WORKS = [Work("W12", f"{SMALL} jobs of {TASKS} tasks, one after another, beside a job of very many", run)]
