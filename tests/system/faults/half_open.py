"""Very many connections that never shake hands, beside a client that goes on.

    python -m tests.system.faults.half_open [COUNT] [--seconds S] [--keys] [--descriptors N] [--at PART]

Starts a small network on loopback, and holds COUNT (5,000) connections of all kinds open to its ports.
Meanwhile one client streams, whose results must be exact, and new clients come, one after another. Prints
what was seen.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.support.cluster import eventually
from zturbo import Client, Task
from zturbo.runtime.net import keys

__all__ = ["attack"]

NETWORK = """\
[broker]
bind = "tcp://127.0.0.1:{port}"
state = "{folder}/state"
{keys}
[listen]
{listen}
[[pipeline]]
name = "p"
durability = "memory"
  [[pipeline.stage]]
  name = "add"
  class = "tests.stages.basic:Add"
"""


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path, listen: str, descriptors: int | None, secured: bool) -> Iterator[tuple[Any, str]]:
    """A network: the process of ``zturbo up``, and its address."""
    port = free_port()
    if secured:
        keys.make_folder(folder / "keys")
    file = folder / "network.toml"
    named = f'keys = "{folder}/keys"' if secured else ""
    file.write_text(NETWORK.format(port=port, folder=folder, keys=named, listen=listen))

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    ready = folder / "ready"
    command = [sys.executable, "-m", "zturbo", "up", str(file), "--no-progress", "--ready-file", str(ready)]
    with open(folder / "log", "wb") as log:
        up = subprocess.Popen([*command, "--address", "127.0.0.1"], stdout=log, stderr=log, preexec_fn=limit)
    try:
        eventually(ready.exists)
        yield up, f"tcp://127.0.0.1:{port}"
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(30)


def ports_of(up: int) -> dict[str, list[int]]:
    """Name of each process of a network -> the ports at which it listens."""
    out: dict[str, list[int]] = {}
    for child in psutil.Process(up).children():
        heard = [one.laddr.port for one in child.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        name = next((word for word in ("broker", "sink", "worker") if word in " ".join(child.cmdline())), "")
        out[name or f"process {child.pid}"] = heard
    return out


def attack(
    count: int,
    seconds: float,
    *,
    secured: bool,
    descriptors: int | None = None,
    listen: str = "",
    at: str | None = None,
) -> dict[str, Any]:
    """Attack a network, and see what becomes of good clients. Raises AssertionError if a result is wrong.

    Args:
        count: half-open connections.
        seconds: how long.
        secured: whether the network has keys.
        descriptors: open files that its processes may have.
        listen: lines of its table ``[listen]``.
        at: the only port that is attacked; None for those of broker, sink and worker.
    """
    with tempfile.TemporaryDirectory(prefix="zt-half-open-") as name:
        folder = Path(name)
        with running(folder, listen, descriptors, secured) as (up, address):
            path = str(folder / "keys") if secured else None
            before = _stream(address, path, seconds / 4)
            ports = ports_of(up.pid)
            only = int(address.rpartition(":")[2])
            ends = [only] if at == "broker" else sorted({only, *(p for ps in ports.values() for p in ps)})
            words = [
                "tests.support.half_open",
                str(seconds + 1),
                str(count),
                *(f"127.0.0.1:{p}" for p in ends),
            ]
            # At the end of the line for a CPU: it stands for another host, which has CPUs of its own.
            stranger = subprocess.Popen(
                ["nice", "-n", "19", sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True
            )
            try:
                seen = _beside(address, path, seconds, psutil.Process(up.pid).children())
            finally:
                told, _ = stranger.communicate(timeout=60)
        log = (folder / "log").read_text()
        found = json.loads(told.splitlines()[-1])
        return {"ports": len(ends), "before": before, **found, **seen, "log": log}


def _stream(address: str, path: str | None, seconds: float) -> float:
    """Tasks a second of one client, each of whose results is looked at."""

    def numbers() -> Iterator[int]:
        until = time.monotonic() + seconds
        yield from itertools.takewhile(lambda _: time.monotonic() < until, itertools.count())

    got = 0
    with Client(address, keys=path) as client:
        began = time.monotonic()
        for got, value in enumerate(client.map(numbers(), pipeline="p"), 1):
            assert value == got, (got, value)
    assert got
    return round(got / (time.monotonic() - began))


def _beside(address: str, path: str | None, seconds: float, children: list[psutil.Process]) -> dict[str, Any]:
    """What good clients see in these seconds, and what the processes take."""
    rates: list[float] = []
    stream = threading.Thread(target=lambda: rates.append(_stream(address, path, seconds)), daemon=True)
    stream.start()
    waits, files = [], 0
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(waits) < 3:
        began = time.monotonic()
        with Client(address, keys=path) as client:
            assert list(client.submit(Task(1), "p").result(timeout=60)) == [2]
        waits.append(time.monotonic() - began)
        files = max(files, *(child.num_fds() for child in children))
        time.sleep(0.02)
    stream.join(60)
    assert rates, "the stream has failed"
    return {
        "during": rates[0],
        "clients": len(waits),
        "median": round(median(waits), 2),
        "longest": round(max(waits), 2),
        "files": files,
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.faults.half_open", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=5000, help="connections (5000)")
    parser.add_argument("--seconds", type=float, default=15, help="for how long (15)")
    parser.add_argument("--keys", action="store_true", help="attack a network with keys")
    parser.add_argument(
        "--descriptors", type=int, help="open files that each process of the network may have"
    )
    parser.add_argument("--at", choices=("broker",), help="attack the broker's port alone")
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = attack(args.count, args.seconds, secured=args.keys, descriptors=args.descriptors, at=args.at)
    log = found.pop("log")
    print(json.dumps(found))
    print(*(line for line in log.splitlines() if "refused" in line), sep="\n")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    main()
