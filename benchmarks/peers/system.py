"""zturbo as a user of pyturbo runs it: a System in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks import stages
from benchmarks.ordering import numbered_jobs
from benchmarks.peer import CannotDo, Flow, Peer
from zturbo import Job, Options, Resources, Stage, System, Task, __version__

__all__ = ["Here"]


class Pipeline(System):
    """One pipeline with the stages of a flow."""

    show_progress = False
    flow: Flow

    def get_stages(self, resources: Resources) -> list[Stage]:
        """An instance of each stage's class."""
        made: list[Stage] = [getattr(stages, stages.class_name(step))() for step in self.flow.steps]
        for stage in made:
            stage.num_worker = self.flow.workers
        return made


class Here(Peer):
    """A System; each content is a job, or one job makes all tasks in its first stage."""

    keeps = "all, while the program lives"
    streams = False
    _system: Pipeline | None = None

    def start(self, flow: Flow) -> None:
        """Start the System, which returns when its workers are ready."""
        if flow.away:
            raise CannotDo("a System is on one host")
        Options.no_progress_bar = True
        self._system = Pipeline()
        self._system.flow = flow
        self._system.start()

    def stop(self) -> None:
        """End the System."""
        if self._system is not None:
            self._system.end()

    def versions(self) -> dict[str, str]:
        """zturbo's."""
        return {"zturbo": __version__}

    def _add(self, number: int, content: Any) -> None:
        assert self._system is not None
        self._system.add_job(Job(str(number), Task(content)))

    def _take(self) -> tuple[int, list[Any]]:
        assert self._system is not None
        job = self._system.wait_job()
        if job.results.failed_tasks:
            raise job.results.failed_tasks[0].error
        return int(job.name), job.results.results

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """Add jobs while there is room; take one that has ended."""
        for (result,) in numbered_jobs(contents, in_flight, self._add, self._take):
            yield result

    def fan_out(self, content: Any, results: int) -> Iterator[Any]:
        """A job's results come when it has ended."""
        self._add(0, content)
        yield from self._take()[1]

    def from_threads(self, contents: Iterable[Any], threads: int) -> Iterator[Any]:
        """Results come through one queue."""
        raise CannotDo("results come through one queue")
