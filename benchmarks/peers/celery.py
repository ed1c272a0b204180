"""Celery: prefork workers, and a Redis of its own; the way of a task is a chain of signatures."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import celery
import redis

from benchmarks.ordering import by_window
from benchmarks.peer import CannotDo, Flow, Peer
from benchmarks.peers import celery_app
from benchmarks.steps import MANY

__all__ = ["Here"]

WAIT = 600.0
"""Seconds for a result; a measurement as a whole has a shorter limit."""


class Here(Peer):
    """The client; any worker does any stage."""

    keeps = "what Redis has, unless Redis dies"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, flow: Flow) -> None:
        """Start Redis and the workers."""
        if flow.away or MANY & set(flow.steps):
            raise CannotDo("one host here, and one output for each input")
        server = shutil.which("redis-server")
        if server is None:
            raise CannotDo("redis-server is not installed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        folder = tempfile.mkdtemp(prefix="redis-")
        options = [
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            folder,
        ]
        self._processes.append(subprocess.Popen([server, *options]))
        connection = redis.Redis(port=port)
        while True:
            try:
                connection.ping()
                break
            except redis.exceptions.ConnectionError:
                time.sleep(0.02)
        connection.close()
        url = f"redis://127.0.0.1:{port}/0"
        celery_app.point_to(url)
        worker = [
            "worker",
            "--pool=prefork",
            f"--concurrency={len(flow.steps) * flow.workers}",
            "--loglevel=ERROR",
        ]
        worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_app", "-b", url, *worker]
        self._processes.append(subprocess.Popen(command, env=celery_app.environment(url)))
        self._steps = flow.steps

    def stop(self) -> None:
        """End the workers, then Redis."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait()

    def versions(self) -> dict[str, str]:
        """Celery's and that of Redis's client."""
        return {"celery": celery.__version__, "redis": redis.__version__}

    def _begin(self, content: Any) -> Any:
        last = len(self._steps) - 1
        tasks = [celery_app.signature(step, i == last) for i, step in enumerate(self._steps)]
        return celery.chain(tasks[0].clone(args=(content,)), *tasks[1:]).apply_async()

    def _end(self, result: Any) -> Any:
        content = result.get(timeout=WAIT)
        result.forget()
        return content

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """A job is a chain."""
        return self.stream(contents, in_flight)

    def stream(self, contents: Iterable[Any], in_flight: int) -> Generator[Any, None, None]:
        """Chains while there is room."""
        return by_window(contents, in_flight, self._begin, self._end)
