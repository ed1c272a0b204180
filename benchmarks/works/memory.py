"""W11: memory, while a fast producer feeds large tasks to a slow stage. It should stay flat."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from benchmarks import processes
from benchmarks.frames import Wrong
from benchmarks.peer import Flow
from benchmarks.work import Begin, Figure, Work

__all__ = ["WORKS"]

SIZE = 100_000
"""Bytes of a task. A peer that keeps roots on disk until the job ends needs as much for each of them."""
RATE = 2000
"""Tasks a second that the slow stage could do."""
PARTS = 5
LOOK = 0.1
"""Seconds between two looks at memory."""


class Watch:
    """Records the peak memory of this process and those below."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(LOOK):
            self._peak = max(self._peak, processes.memory())

    def look(self) -> float:
        """The peak since the last call, in MB."""
        peak, self._peak = max(self._peak, processes.memory()), 0.0
        return peak

    def close(self) -> None:
        """Stop recording."""
        self._over.set()
        self._thread.join()


def run(begin: Begin, seconds: float) -> Iterator[Figure]:
    """Peaks of all processes together, for each fifth of the run."""
    size = max(5 * PARTS, round(RATE * seconds))
    with begin(Flow(("same", "slow_length"), large=True)) as peer:
        through = peer.stream if peer.streams else peer.jobs
        list(through([b"warm"] * 10, 8))
        contents = (i.to_bytes(8, "big") * (SIZE // 8) for i in range(size))
        watch = Watch()
        began = time.perf_counter()
        got = 0
        try:
            for got, length in enumerate(through(contents, 8), 1):
                if length != SIZE // 8 * 8:
                    raise Wrong(f"result {got} is {length!r}")
                if got % (size // PARTS) == 0:
                    yield Figure("MB, peak of all processes", watch.look(), less=True, at=got * PARTS // size)
        finally:
            watch.close()
        if got != size:
            raise Wrong(f"{got} results of {size}")
        yield Figure("tasks/s", size / (time.perf_counter() - began))


WORKS = [
    Work(
        "W11", "memory in each fifth of a run: tasks of 100 kB for a slow stage", run, axis="fifth", limit=60
    )
]
