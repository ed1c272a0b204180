"""The demonstration: tracks moving objects in three clips at once, with a progress bar per stage.

    python -m examples.video.demo [--out FOLDER] [--kill STAGE | --deaths SECONDS]

``--kill track`` kills that stage's worker with SIGKILL while it works. ``--deaths 2`` kills a random process,
perhaps the broker or the sink, every two seconds, but not before all are up again. The tracks stay the same.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from examples.video import clips
from examples.video.sheet import write_sheet
from zturbo import Client, Job, Task
from zturbo.deploy.children import broker_child, sink_child, worker_children
from zturbo.deploy.network import Network
from zturbo.errors import ZturboError
from zturbo.runtime.net.host import host_name
from zturbo.runtime.node.children import Child
from zturbo.runtime.node.node import Node
from zturbo.terminal.progress import Progress

__all__ = ["main", "run_clips"]

FILE = Path(__file__).with_name("video.toml")


def free_address() -> str:
    """A loopback address that no process uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def run_clips(
    paths: list[Path],
    out: Path,
    *,
    kill: str | None = None,
    deaths: float | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Run clips through the pipeline of ``video.toml``, with all processes on this host.

    Args:
        paths: paths of the clips.
        out: folder for the files that are written, a report on the run among them.
        kill: name of a stage; one of its workers is killed once it has done some work.
        deaths: least seconds between two deaths of random processes. The next one dies only when all are up
            again. The tracker dies at most as often as there are clips.
        progress: display of the progress; None for none.

    Returns:
        The summary that ``Render`` gives for each clip, with the seconds that the run took.
    """
    progress = progress or Progress(show=False)
    with tempfile.TemporaryDirectory(prefix="zturbo-demo-") as state:
        network = Network.load(FILE)
        network = replace(network, broker=replace(network.broker, bind=free_address(), state=state))

        answers = threading.Event()

        def on_event(kind: str, child: Child, text: str) -> None:
            if kind == "ready" and child.what.name == "broker":
                answers.set()
            if kind == "failed" or (kind == "exited" and not node.stopping):
                progress.say(f"{child.what.name} (process {child.pid}): {text}")

        node = Node(network.broker.bind, host=host_name(), on_event=on_event)
        for child in (broker_child(network), sink_child(network)):
            node.add(child)
        for stage in network.pipelines[0].stages:
            for child in worker_children(network, f"video.{stage.name}"):
                node.add(child)
        runner = threading.Thread(target=node.run, name="node")
        runner.start()
        try:
            answers.wait(30)  # if it does not come, the client says why
            with Client(network.broker.bind, timeout=30) as client:
                stop = threading.Event()
                reaper = threading.Thread(target=_reap, args=(node, deaths, len(paths), progress, stop))
                if deaths is not None:
                    reaper.start()
                out.mkdir(parents=True, exist_ok=True)
                try:
                    with client.report(out / "report.html"):
                        return _submit(client, node, paths, out, kill, progress)
                finally:
                    stop.set()
                    if deaths is not None:
                        reaper.join()
        finally:
            node.stop()
            runner.join()
            node.close()


def _submit(
    client: Client, node: Node, paths: list[Path], out: Path, kill: str | None, progress: Progress
) -> list[dict[str, Any]]:
    began = time.monotonic()
    handles = [
        client.submit(Job(path.stem, Task({"clip": str(path), "out": str(out)})), pipeline="video")
        for path in paths
    ]
    done = threading.Event()

    def watch() -> None:
        killed = kill is None
        while not done.wait(0.1):
            try:
                jobs = client.jobs()
            except ZturboError:
                continue
            progress.update(jobs)
            if not killed and _given(jobs, str(kill)) >= 40:
                killed = True
                _kill(next(c for c in node.children if c.what.name == f"video.{kill}"), progress)
        progress.update(client.jobs())

    watcher = threading.Thread(target=watch, name="watch")
    watcher.start()
    try:
        summaries = []
        for handle in handles:
            result = handle.result(timeout=600)
            for task in result.failed_tasks:
                raise task.error or RuntimeError("a task failed")
            summaries.append({**result[0], "seconds": time.monotonic() - began})
        return summaries
    finally:
        done.set()
        watcher.join()


def _reap(node: Node, every: float, clips: int, progress: Progress, stop: threading.Event) -> None:
    """Kill random processes at intervals; the tracker at most as often as there are clips."""
    trackers = 0
    while not stop.wait(every):
        while not node.ready:
            if stop.wait(0.05):
                return
        alive = node.children
        if trackers >= clips:
            alive = [child for child in alive if child.what.name != "video.track"]
        victim = random.choice(alive)
        trackers += victim.what.name == "video.track"
        _kill(victim, progress)


def _given(jobs: list[dict[str, Any]], stage: str) -> int:
    return sum(
        done for job in jobs for name, done in zip(job["stages"], job["done"], strict=True) if name == stage
    )


def _kill(victim: Child, progress: Progress) -> None:
    progress.say(f"kill -9 {victim.pid} ({victim.what.name})")
    os.kill(victim.pid, signal.SIGKILL)


def main() -> int:
    """Run the demonstration; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the files that are written")
    parser.add_argument(
        "--kill",
        metavar="STAGE",
        choices=["decode", "detect", "track", "render"],
        help="kill -9 a worker of this stage while it works: decode, detect, track or render",
    )
    parser.add_argument(
        "--deaths", type=float, metavar="SECONDS", help="kill -9 a random process at this interval"
    )
    args = parser.parse_args()
    progress = Progress()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        summaries = run_clips(
            clips.find(), args.out.absolute(), kill=args.kill, deaths=args.deaths, progress=progress
        )
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        progress.close()
    sheet = args.out / "sheet.png"
    write_sheet([summary["stills"] for summary in summaries], sheet)
    print(f"\n{'clip':20} {'frames':>7} {'detections':>11} {'tracks':>7} {'frames/s':>9}")
    for row in summaries:
        rate = row["frames"] / row["seconds"]
        print(f"{row['clip']:20} {row['frames']:7} {row['detections']:11} {row['tracks']:7} {rate:9.1f}")
    print("\nwrote")
    for row in summaries:
        print(f"  {os.path.relpath(row['video'])}  {os.path.relpath(row['json'])}")
    print(f"  {sheet}")
    report = args.out / "report.html"
    if report.exists():
        print(f"  {report}: what each process did, and which stage limits the whole")
    return 0


if __name__ == "__main__":
    sys.exit(main())
