"""zturbo as it is installed: ``zturbo up`` with a network file, and a client in this process."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import hosts, processes
from benchmarks.ordering import by_window
from benchmarks.peer import Flow, Peer
from benchmarks.stages import class_name
from zturbo import Client, Job, JobHandle, Task, __version__

__all__ = ["Here"]

WAIT = 600.0
"""Seconds for any one thing; a measurement as a whole has a shorter limit."""


def network(
    flow: Flow, bind: str, state: str, durability: str, functions: bool, limits: Mapping[str, int]
) -> str:
    """The text of a network file."""
    lines = ["[broker]", f'bind = "{bind}"', f'state = "{state}"']
    lines += [f"{name} = {value}" for name, value in limits.items()]
    lines += ["[[pipeline]]", 'name = "p"', f'durability = "{durability}"', f"max_task_bytes = {512 << 20}"]
    for i, step in enumerate(flow.steps):
        code = f"benchmarks.steps:{step}" if functions else f"benchmarks.stages:{class_name(step)}"
        lines += [
            "[[pipeline.stage]]",
            f'name = "{step}-{i}"',
            f'class = "{code}"',
            f"workers = {flow.workers}",
        ]
    return "\n".join(lines)


class Here(Peer):
    """``zturbo up``, a client, and nodes on the other host.

    Args:
        durability: of the pipeline.
        functions: stages are plain functions; else Stage classes.
        peers: workers of the next stage that a worker sends to, at most; None for no bound.
        limits: of the broker, as in its part of a network file.
        idle: start no workers.

    Attributes:
        client: of the broker, once it is started.
    """

    restarts = True
    client: Client

    def __init__(
        self,
        durability: str = "process",
        functions: bool = False,
        *,
        peers: int | None = None,
        limits: Mapping[str, int] | None = None,
        idle: bool = False,
    ) -> None:
        super().__init__()
        self._limits = limits or {}
        self._idle = idle
        self.keeps = {"memory": "all but what was not written yet", "process": "all"}.get(
            durability, "all, after a power cut too"
        )
        self._durability = durability
        self._functions = functions
        self._peers = peers
        self._folder: Path | None = None
        self._nodes: list[subprocess.Popen[str]] = []
        self._connected = False
        self._ready = threading.Condition()
        self._started: list[tuple[str, int]] = []
        self._expected = 0

    def start(self, flow: Flow) -> None:
        """Start the nodes and connect the client; the workers start meanwhile."""
        self._folder = folder = Path(tempfile.mkdtemp(prefix="zturbo-"))
        if flow.away:
            bind = f"tcp://{hosts.ADDRESSES[0]}:5555"
        else:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                bind = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        file = folder / "network.toml"
        text = network(flow, bind, str(folder / "state"), self._durability, self._functions, self._limits)
        bound = "" if self._peers is None else f"\npeers = {self._peers}"
        file.write_text(text.replace('name = "p"', f'name = "p"{bound}', 1))
        names = [f"p.{step}-{i}" for i, step in enumerate(flow.steps)]
        away = names[len(names) - flow.away :]
        wide = ["--insecure"] if flow.away else []
        without = [word for name in (names if self._idle else away) for word in ("--without", name)]
        self._expected = 2 + (0 if self._idle else flow.workers * len(names))
        self._run(["up", str(file), "--no-progress", "--json", *wide, *without])
        for name in away:
            self._run(["stage", str(file), name, "--json", *wide], hosts.away())
        self.client = Client(bind, timeout=60)
        self._connected = True

    def start_stage(self, name: str) -> None:
        """Start the workers of one stage, such as ``p.add-0``, which an idle peer is without."""
        assert self._folder is not None
        self._run(["stage", str(self._folder / "network.toml"), name, "--json"])

    def _run(self, words: list[str], before: Iterable[str] = ()) -> None:
        command = [*before, sys.executable, "-m", "zturbo", *words]
        node = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._nodes.append(node)
        threading.Thread(target=self._read, args=(node,), daemon=True).start()

    def _read(self, node: subprocess.Popen[str]) -> None:
        assert node.stdout is not None
        for line in node.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "ready":
                with self._ready:
                    self._started.append((event["name"], event["pid"]))
                    self._ready.notify_all()

    def processes(self) -> dict[str, list[int]]:
        """Broker, sink and workers, once all of them run."""
        found: dict[str, list[int]] = {}

        def all_run() -> bool:
            found.clear()
            for name, pid in self._started:
                if processes.runs(pid):
                    found.setdefault(name, []).append(pid)
            return sum(map(len, found.values())) == self._expected

        with self._ready:
            while not all_run():  # a death is no event here, so it looks now and then
                self._ready.wait(0.1)
        return found

    def stop(self) -> None:
        """Close the client, interrupt the nodes, as Ctrl-C does, and remove what they have written."""
        try:
            if self._connected:
                self.client.close()
        finally:
            for node in self._nodes:
                node.send_signal(signal.SIGINT)
            for node in self._nodes:
                node.wait()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def versions(self) -> dict[str, str]:
        """zturbo's."""
        return {"zturbo": __version__}

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """Submit jobs while there is room; wait for the oldest."""

        def begin(content: Any) -> JobHandle:
            return self.client.submit(Job("job", Task(content)), "p")

        def end(handle: JobHandle) -> Any:
            (result,) = handle.result(timeout=WAIT)
            return result

        return by_window(contents, in_flight, begin, end)

    def stream(self, contents: Iterable[Any], in_flight: int) -> Generator[Any, None, None]:
        """``Client.map``, which bounds by itself what is in flight."""
        return self.client.map(contents, "p")

    def fan_out(self, content: Any, results: int) -> Iterator[Any]:
        """The results of one job, as they come. As with other peers, nobody reads them again."""
        return self.client.submit(Job("job", Task(content)), "p").stream(keep=False)
