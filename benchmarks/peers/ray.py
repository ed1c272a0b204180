"""Ray: an actor for each worker, one call for each stage; or the same actors as a compiled graph."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from benchmarks.ordering import by_window
from benchmarks.peer import CannotDo, Flow, Peer
from benchmarks.steps import MANY, STEPS

__all__ = ["Here"]

STORE = 2 << 30
"""Bytes of the object store."""
GRAPH_IN_FLIGHT = 10
"""Executions of a compiled graph at a time; it raises at more than it was compiled for."""


class Actor:
    """Does a step."""

    def __init__(self, step: str) -> None:
        self._run: Callable[[Any], Any] = STEPS[step]

    def run(self, content: Any) -> Any:
        """Do it once."""
        return self._run(content)


class Here(Peer):
    """The driver.

    Args:
        graph: compile the actors' calls into a graph; else each call is one of its own.
    """

    _graph: Any = None
    _started = False

    def __init__(self, graph: bool = False) -> None:
        super().__init__()
        self._compile = graph

    def start(self, flow: Flow) -> None:
        """Start Ray and the actors."""
        if flow.away or MANY & set(flow.steps):
            raise CannotDo("one host here, and one output for each input")
        if self._compile and flow.workers > 1:
            raise CannotDo("a graph has one actor for each stage here")
        self._started = True
        ray.init(
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=STORE,
            logging_level="ERROR",
            _temp_dir=tempfile.mkdtemp(prefix="ray-"),
        )
        actor_class: Any = ray.remote(num_cpus=0)(Actor)  # none waits for a CPU
        self._stages = [[actor_class.remote(step) for _ in range(flow.workers)] for step in flow.steps]
        ray.get([actor.__ray_ready__.remote() for actors in self._stages for actor in actors])
        self._next = 0
        if self._compile:
            from ray.dag import InputNode

            with InputNode() as node:
                for (actor,) in self._stages:
                    node = actor.run.bind(node)
            self._graph = node.experimental_compile(_max_inflight_executions=16, _buffer_size_bytes=8 << 20)

    def stop(self) -> None:
        """Shut Ray down. A graph is not torn down first: that may not return. Its processes are killed."""
        if self._started and self._graph is None:
            ray.shutdown()

    def versions(self) -> dict[str, str]:
        """Ray's."""
        return {"ray": ray.__version__}

    def _begin(self, content: Any) -> Any:
        if self._graph is not None:
            return self._graph.execute(content)
        reference = content if isinstance(content, (int, float)) else ray.put(content)
        for actors in self._stages:
            reference = actors[self._next % len(actors)].run.remote(reference)
        self._next += 1
        return reference

    def _end(self, reference: Any) -> Any:
        content = ray.get(reference)
        if self._graph is not None and not isinstance(content, (int, float)):
            return content.copy()  # a content that is held blocks its channel
        return content

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """A job is a chain of calls."""
        return self.stream(contents, in_flight)

    def stream(self, contents: Iterable[Any], in_flight: int) -> Generator[Any, None, None]:
        """Calls while there is room."""
        if self._graph is not None:
            in_flight = min(in_flight, GRAPH_IN_FLIGHT)
        return by_window(contents, in_flight, self._begin, self._end)
