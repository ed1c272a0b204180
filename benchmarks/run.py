"""A run: works and peers in turns, each measurement in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import hosts, processes
from benchmarks.measure import Found
from benchmarks.peer import CannotDo
from benchmarks.work import Work, shown

__all__ = ["Measurement", "run"]

LEAST = 100.0
"""Seconds that a measurement may take, however short it is; :attr:`Work.limit` adds to it."""
PATIENCE = 15.0
"""Seconds that a measurement which is told to stop may take before it is killed."""
LAST_LINES = 15
"""Lines of a failed measurement's output that are shown."""


@dataclass(frozen=True)
class Measurement:
    """One of a run.

    Attributes:
        work: its name.
        peer: its name.
        round: counted from 1.
        found: figures, or why there are none.
        output: the last lines that its processes printed, if it failed.
    """

    work: str
    peer: str
    round: int
    found: Found
    output: str = ""


def run(
    works: list[Work], peers: list[str], rounds: int, seconds: float, end: float, say: Callable[[str], None]
) -> Iterator[Measurement]:
    """Measure each work with each peer, in turns: all peers at a work, all works, and again.

    Args:
        works: to do.
        peers: their names.
        rounds: how often.
        seconds: of a measurement, about.
        end: no measurement begins after this time, of ``time.monotonic``.
        say: gets a line before and after each measurement.
    """
    processes.adopt(die_with_parent=False)
    total, number = rounds * len(works) * len(peers), 0
    out: set[str] = set()
    for turn in range(1, rounds + 1):
        for work in works:
            for peer in peers:
                number += 1
                where = f"[{number}/{total}] {work.name} {peer}"
                if peer in out:
                    continue
                if time.monotonic() > end:
                    say(f"{where}: no time left")
                    yield Measurement(work.name, peer, turn, Found(kind="late", why="no time was left"))
                    continue
                say(f"{where} …")
                done = _one(work, peer, turn, seconds)
                if done.found.kind == "missing":
                    out.add(peer)
                say(f"{where}: {_line(done)}")
                yield done


def _line(done: Measurement) -> str:
    found = done.found
    texts = [f"{shown(figure.value)} {figure.name}" for figure in found.figures if figure.at is None]
    points = len(found.figures) - len(texts)
    texts += [f"{points} points"] if points else []
    texts += [found.why] if found.why else []
    if done.output:
        texts.append("\n    " + done.output.replace("\n", "\n    "))
    return f"{', '.join(texts)} ({found.seconds:.0f} s)"


def _one(work: Work, peer: str, turn: int, seconds: float) -> Measurement:
    folder = Path(tempfile.mkdtemp(prefix="ztb-"))
    try:
        with ExitStack() as stack:
            environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
            before: list[str] = []
            if work.two_hosts:
                here, environment[hosts.AWAY] = stack.enter_context(hosts.two_hosts())
                before = hosts.enter(here)
            module = ["-m", "benchmarks.measure", peer, work.name, str(seconds), str(folder / "found")]
            return _measured(
                [*before, sys.executable, *module], environment, folder, work, peer, turn, seconds
            )
    except CannotDo as error:
        return Measurement(work.name, peer, turn, Found(kind="cannot", why=str(error)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    work: Work,
    peer: str,
    turn: int,
    seconds: float,
) -> Measurement:
    limit = LEAST + work.limit * seconds
    late = False
    with open(folder / "log", "wb") as log:
        # A session of its own: Ctrl-C comes here alone, and what is below is ended in order.
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            child.wait(limit)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            _end(child)
    found = Found.read(folder / "found")
    if late and found.kind != "wrong":
        found.kind, found.why = "late", f"it took more than {limit:.0f} s"
    output = ""
    if found.kind in ("failed", "late"):
        lines = (folder / "log").read_text(errors="replace").strip().splitlines()
        output = "\n".join(lines[-LAST_LINES:])
    return Measurement(work.name, peer, turn, found, output)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a measurement, and all processes that it has started, by their pids."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
    processes.end_all()
