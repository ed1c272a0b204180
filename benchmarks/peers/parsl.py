"""Parsl: its executor for high throughput, one block; any worker does any stage; futures chain apps."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from benchmarks.ordering import by_window
from benchmarks.peer import CannotDo, Flow, Peer
from benchmarks.steps import MANY, STEPS

__all__ = ["Here"]


class Here(Peer):
    """The kernel of Parsl's data flow is in this process."""

    _kernel: Any = None

    def start(self, flow: Flow) -> None:
        """Start the executor, with a worker for each worker of each stage."""
        if flow.away or MANY & set(flow.steps):
            raise CannotDo("one host here, and one output for each input")
        os.environ["PYTHONPATH"] = os.getcwd()  # the workers import the steps
        beside = os.path.dirname(sys.executable)  # of interchange.py, which Parsl runs by name
        os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", "")])
        executor = HighThroughputExecutor(
            label="htex",
            address="127.0.0.1",
            max_workers_per_node=len(flow.steps) * flow.workers,
            cores_per_worker=0.01,
            encrypted=False,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        folder = tempfile.mkdtemp(prefix="parsl-")
        config = Config(executors=[executor], strategy="none", run_dir=folder, initialize_logging=False)
        self._kernel = parsl.load(config)
        self._apps = [parsl.python_app(STEPS[step]) for step in flow.steps]

    def stop(self) -> None:
        """End the executor."""
        if self._kernel is not None:
            self._kernel.cleanup()
            parsl.clear()

    def versions(self) -> dict[str, str]:
        """Parsl's."""
        return {"parsl": parsl.__version__}

    def _begin(self, content: Any) -> Any:
        for app in self._apps:
            content = app(content)
        return content

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """A job is a chain of futures."""
        return self.stream(contents, in_flight)

    def stream(self, contents: Iterable[Any], in_flight: int) -> Generator[Any, None, None]:
        """Futures while there is room."""
        return by_window(contents, in_flight, self._begin, lambda future: future.result())
