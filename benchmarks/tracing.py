"""What the trace costs that each worker records at all times: W1 with it and without it, in turns.

    python -m benchmarks.tracing
    python -m benchmarks.tracing --rounds 20 --seconds 1

In each round, two networks of three stages run side by side on this host; the workers of one record nothing.
They get W1's small tasks in turns, first the one and then the other, and next time the other way round. The
two figures of a pair are a moment apart, so their ratio holds though the machine's speed changes. Of two
equal networks, that which is started first is some percent slower; so each is the first in half of the
rounds, and the cost is the geometric mean of the rounds' medians. To be sure that the one records and the
other does not, the records of both are read in the end. Leave the machine alone meanwhile: the medians of the
rounds show how much the figure may be trusted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.peer import Flow
from benchmarks.peers.zturbo import Here
from benchmarks.work import check_numbers

__all__ = ["main"]

ON = "import zturbo.runtime.code.recorder as recorder\n"
OFF = ON + "recorder.Recorder = lambda *args: None\n"
"""What each process of the network without a trace runs first; those of the other one run ``ON``."""

FIRST = 2000
"""Tasks of the first burst, which does not count."""

WINDOW = 1024


@contextmanager
def network(*, traced: bool) -> Iterator[Here]:
    """A network of W1."""
    peer, path = Here("process"), os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory(prefix="ztb-") as folder:
        Path(folder, "sitecustomize.py").write_text(ON if traced else OFF)
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *([path] if path else [])])
        try:
            peer.start(Flow(("add", "add", "add")))
            peer.processes()
            yield peer
        finally:
            peer.stop()
            if path is None:
                os.environ.pop("PYTHONPATH", None)
            else:
                os.environ["PYTHONPATH"] = path


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process's threads, finer than in ticks of the kernel's clock."""
    return (
        sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    )


def burst(peer: Here, tasks: int) -> tuple[float, float]:
    """(seconds, seconds of the workers' CPU) for a task."""
    pids = [pid for name, some in peer.processes().items() if name.startswith("p.") for pid in some]
    before = sum(map(cpu_of, pids))
    began = time.perf_counter()
    results = list(peer.stream(range(tasks), WINDOW))
    took = time.perf_counter() - began
    used = sum(map(cpu_of, pids)) - before
    check_numbers(results, 3, tasks)
    return took / tasks, used / tasks


def _records(peer: Here) -> bool:
    return any(event["ph"] == "X" for event in peer.client.trace(last=600.0)["traceEvents"])


def _round(first: bool, pairs: int, seconds: float) -> tuple[list[float], list[float]]:
    """Start both networks, the one with a trace first or not; returns (costs in time, costs in CPU) of pairs.

    Raises:
        RuntimeError: who recorded is not as it should be.
    """
    times, cpu = [], []
    with ExitStack() as stack:
        peers = {traced: stack.enter_context(network(traced=traced)) for traced in (first, not first)}
        took = [burst(peer, FIRST)[0] for peer in peers.values() for _ in range(2)]
        tasks = max(100, round(seconds / min(took)))
        for pair in range(pairs):
            found = {
                traced: burst(peers[traced], tasks) for traced in ((True, False), (False, True))[pair % 2]
            }
            times.append(found[True][0] / found[False][0])
            cpu.append(found[True][1] / found[False][1])
        recorded = {traced: _records(peer) for traced, peer in peers.items()}
        if recorded != {True: True, False: False}:
            raise RuntimeError(f"who recorded is not as it should be: {recorded}")
    return times, cpu


def _row(name: str, rounds: list[list[float]]) -> str:
    medians = [statistics.median(ratios) for ratios in rounds]
    shown = [f"{100 * (ratio - 1):+.1f} %" for ratio in (statistics.geometric_mean(medians), *medians)]
    return f"| {name} | {shown[0]} | {', '.join(shown[1:])} |\n"


def main(words: list[str] | None = None) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rounds", type=int, default=6, metavar="N", help="an even number; default: %(default)s"
    )
    parser.add_argument("--pairs", type=int, default=10, metavar="N", help="of a round; default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=0.5, metavar="S", help="of a burst, about; default: %(default)g"
    )
    args = parser.parse_args(words)
    found = [_round(number % 2 == 0, args.pairs, args.seconds) for number in range(max(2, args.rounds))]
    sys.stdout.write("| of W1 with the trace | costs more | medians of the rounds |\n| --- | --- | --- |\n")
    sys.stdout.write(_row("time for a task", [times for times, _ in found]))
    sys.stdout.write(_row("CPU of workers for a task", [cpu for _, cpu in found]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
