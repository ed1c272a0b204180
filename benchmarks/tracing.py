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

The last row does not depend on the machine's load. In each worker that records, a clock of its thread's CPU
time runs while the trace's own code runs; the figure is the part that this is of all CPU time of the process
since its first task, for all workers together. It is a little too large, by what reading that clock costs.
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

OFF = """
import zturbo.runtime.code.recorder as recorder
recorder.Recorder = lambda *args: None
"""
"""What each process of the network without a trace runs first; those of the other one run ``ON``."""

ON = """
import os
from time import monotonic, process_time, thread_time
import zturbo.runtime.code.recorder as recorder

class Counted(recorder.Recorder):
    __slots__ = ("first", "next", "used")

    def __init__(self, *args):
        super().__init__(*args)
        self.first, self.next, self.used = None, 0.0, 0.0

    def work(self, job, pieces):
        began = thread_time()
        if self.first is None:
            self.first = process_time()
        super().work(job, pieces)
        self.used += thread_time() - began

    def record(self, *args):
        began = thread_time()
        super().record(*args)
        self.used += thread_time() - began
        if self.first is not None and monotonic() > self.next:
            self.next = monotonic() + 0.1
            with open(f"FOLDER/{os.getpid()}.used", "w") as file:
                file.write(f"{self.used} {process_time() - self.first}")

recorder.Recorder = Counted
"""

FIRST = 2000
"""Tasks of the first burst, which does not count."""

WINDOW = 1024


@contextmanager
def network(*, traced: bool) -> Iterator[tuple[Here, Path]]:
    """A network of W1, and the folder where its workers say what the trace uses."""
    peer, path = Here("process"), os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory(prefix="ztb-") as folder:
        Path(folder, "sitecustomize.py").write_text((ON if traced else OFF).replace("FOLDER", folder))
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *([path] if path else [])])
        try:
            peer.start(Flow(("add", "add", "add")))
            peer.processes()
            yield peer, Path(folder)
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


def _share(folder: Path) -> float:
    """Part of the workers' CPU that the trace's own code took, as each has said it last.

    Raises:
        RuntimeError: no worker has said anything.
    """
    told = [file.read_text().split() for file in folder.glob("*.used")]
    used, all_of_it = (sum(float(words[i]) for words in told if len(words) == 2) for i in range(2))
    if not all_of_it:
        raise RuntimeError("no worker has said what the trace uses")
    return used / all_of_it


def _round(first: bool, pairs: int, seconds: float) -> tuple[list[float], list[float], float]:
    """Start both networks, the one with a trace first or not.

    Returns:
        (costs in time, costs in CPU) of pairs, and the part of the CPU that the trace's own code took.

    Raises:
        RuntimeError: who recorded is not as it should be.
    """
    times, cpu = [], []
    with ExitStack() as stack:
        started = {traced: stack.enter_context(network(traced=traced)) for traced in (first, not first)}
        peers = {traced: peer for traced, (peer, _) in started.items()}
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
        share = _share(started[True][1])
    return times, cpu, share


def _row(name: str, rounds: list[list[float]], digits: int = 1) -> str:
    medians = [statistics.median(ratios) for ratios in rounds]
    shown = [f"{100 * (ratio - 1):+.{digits}f} %" for ratio in (statistics.geometric_mean(medians), *medians)]
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
    sys.stdout.write(_row("time for a task", [times for times, _, _ in found]))
    sys.stdout.write(_row("CPU of workers for a task", [cpu for _, cpu, _ in found]))
    sys.stdout.write(_row("CPU in the trace's own code", [[1 + share] for _, _, share in found], 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
