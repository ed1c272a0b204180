"""What a benchmark asks of a peer: to start a pipeline, to do work, to stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["CannotDo", "Flow", "Peer"]


class CannotDo(Exception):
    """The peer has no way to do this work; the text says why. It gets no figure."""


@dataclass(frozen=True)
class Flow:
    """A pipeline: which stages it has, and where they run.

    Attributes:
        steps: names of functions in :mod:`benchmarks.steps`, one for each stage.
        workers: workers of each stage.
        large: the contents are large, so few of them may be on their way at a time.
        away: number of last stages that run in the second network namespace.
    """

    steps: tuple[str, ...]
    workers: int = 1
    large: bool = False
    away: int = 0


class Peer(ABC):
    """A system that runs a pipeline. A module of :mod:`benchmarks.peers` has a subclass named ``Here``.

    Args:
        options: what distinguishes variants of one peer, such as a durability mode.
    """

    keeps = "nothing"
    """What survives the death of a process."""
    restarts = False
    """Whether a process that dies is started again, and its work done."""
    streams = True
    """Whether a job takes a stream of root tasks. Where it does not, each content is a job of its own."""

    def __init__(self, **options: Any) -> None:
        if options:
            raise TypeError(f"unknown options {options}")

    @abstractmethod
    def start(self, flow: Flow) -> None:
        """Start all processes. It may return before they are ready.

        Raises:
            CannotDo: the peer has no such pipeline.
        """

    @abstractmethod
    def stop(self) -> None:
        """End all processes. It is called after a failed :meth:`start` too."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Name of each distribution that the peer uses -> its version."""

    def one(self, content: Any) -> Any:
        """Run a job of one task, and wait for its result."""
        (result,) = self.jobs([content], 1)
        return result

    @abstractmethod
    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """Run a job of one task for each content, with so many of them in flight; results in order."""

    def stream(self, contents: Iterable[Any], in_flight: int) -> Generator[Any, None, None]:
        """Run one job with these root tasks; results in order.

        Args:
            contents: read as far ahead as there is room.
            in_flight: most tasks in flight, for a peer that does not bound them by itself.
        """
        raise CannotDo("a job has one root task")

    def fan_out(self, content: Any, results: int) -> Iterator[Any]:
        """Run a job of one root task, of which the first stage makes many; results in order.

        Args:
            content: of the root task.
            results: their number.
        """
        raise CannotDo("a stage gives one output for each input")

    def from_threads(self, contents: Iterable[Any], threads: int) -> Iterator[Any]:
        """Run a job of one task for each content, each by a thread that waits for it; results in order."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(self.one, contents)

    def processes(self) -> dict[str, list[int]]:
        """Name of each process, or of several that do the same -> their pids. Waits until all of them run."""
        raise CannotDo("its processes have no names")
