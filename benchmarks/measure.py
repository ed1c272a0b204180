"""One measurement: one peer does one work, in a process of its own and in those that the peer starts.

    python -m benchmarks.measure PEER WORK SECONDS FILE

It writes what it has found to FILE, as JSON, as soon as each figure is known. So figures stand although a
later one takes too long. :mod:`benchmarks.run` starts it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.frames import Wrong
from benchmarks.peer import CannotDo, Flow, Peer
from benchmarks.registry import WORKS, make
from benchmarks.work import Figure, Work

__all__ = ["Found", "main", "measure"]

STOP = 30
"""Seconds that a peer may take to stop."""


@dataclass
class Found:
    """What one measurement has found.

    Attributes:
        figures: all that are known.
        kind: "figures"; "cannot", if the peer has no way to do the work; "missing", if it is not installed;
            "wrong", if a result was; "failed"; "late", if it took too long.
        why: a sentence, if kind is not "figures".
        keeps: what survives the death of a process.
        versions: of the peer's distributions.
        seconds: of the measurement as a whole.
        stolen: CPUs that the hypervisor took away, of those of the machine.
        others: CPUs that other processes used.
        left: processes that the peer left when it was stopped.
    """

    figures: list[Figure] = field(default_factory=list)
    kind: str = "failed"
    why: str = "its process ended"
    keeps: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stolen: float = 0.0
    others: float = 0.0
    left: int = 0

    def write(self, file: Path) -> None:
        """Write all of it, so that a reader finds the old text or the new one."""
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(file)

    @classmethod
    def read(cls, file: Path) -> Found:
        """What another process has written; nothing yet, if there is no file."""
        if not file.exists():
            return cls()
        values: dict[str, Any] = json.loads(file.read_text())
        return cls(**{**values, "figures": [Figure(**figure) for figure in values["figures"]]})


@contextmanager
def begin(peer: Peer, flow: Flow) -> Iterator[Peer]:
    """Run a peer. A peer that does not stop costs no figure: its processes are killed."""
    try:
        peer.start(flow)
        yield peer
    finally:
        signal.alarm(STOP)
        try:
            peer.stop()
        except TimeoutError:
            traceback.print_exc()
        finally:
            signal.alarm(0)


def measure(name: str, work: Work, seconds: float, found: Found, file: Path) -> None:
    """Do a work with a peer; figures and all else go to ``found``, and to the file."""
    try:
        first = make(name)
    except ImportError as error:
        found.kind, found.why = "missing", f"not installed: {error}"
        return
    found.keeps, found.versions = first.keeps, first.versions()
    try:
        for figure in work.run(lambda flow: begin(make(name), flow), seconds):
            found.figures.append(figure)
            found.kind, found.why = "late", "it took too long"  # holds if no more is written
            found.write(file)
        found.kind, found.why = "figures", ""
    except CannotDo as error:
        found.kind, found.why = "cannot", str(error)
    except Wrong as error:
        found.kind, found.why = "wrong", f"wrong results: {error}"
        found.figures.clear()
    except Exception as error:  # a peer's errors are of any kind
        traceback.print_exc()
        found.kind, found.why = "failed", f"{type(error).__name__}: {error}"[:300]


def _interrupted(number: int, frame: object) -> None:
    if number == signal.SIGALRM:
        raise TimeoutError(f"the peer did not stop within {STOP} s")
    raise SystemExit(128 + number)


def main() -> None:
    """Measure, and write the file."""
    name, work, seconds, file = sys.argv[1], WORKS[sys.argv[2]], float(sys.argv[3]), Path(sys.argv[4])
    processes.adopt(die_with_parent=True)
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGALRM, _interrupted)
    gc.collect()
    found = Found()
    before, own, began = processes.ticks(), processes.cpu_seconds(), time.perf_counter()
    try:
        measure(name, work, seconds, found, file)
        found.left = len(processes.below())
    finally:
        processes.end_all()
        found.seconds = time.perf_counter() - began
        after, mine = processes.ticks(), processes.cpu_seconds() - own
        found.stolen = (after.stolen - before.stolen) / found.seconds
        found.others = max(0.0, after.busy - before.busy - mine) / found.seconds
        found.write(file)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of a peer may not end, and what they keep is thrown away


if __name__ == "__main__":
    main()
