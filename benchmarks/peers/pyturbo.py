"""py-turbo 0.7: a System in this process, one pipeline, queues of its default size."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any
from unittest.mock import patch

with patch.dict(os.environ, {"PYTURBO_OPTIONS": "no_progress_bar"}):  # it is read at this import
    from pyturbo import Job, Stage, System, Task

from benchmarks.ordering import numbered_jobs
from benchmarks.peer import CannotDo, Flow, Peer
from benchmarks.steps import MANY, STEPS

__all__ = ["Here"]


class Step(Stage):  # type: ignore[misc]  # it ships no types
    """Does a step, with the calls that pyturbo asks of a stage."""

    def __init__(self, resources: Any, step: str, workers: int) -> None:
        super().__init__(resources, workers=workers)
        self.step = step

    def allocate_resource(self, resources: Any, *, workers: int) -> list[Any]:
        """The same resources for each worker."""
        return [resources] * workers

    def process(self, task: Any) -> Any:
        """One task with the step's value, or one for each if it gives many."""
        run = STEPS[self.step]
        if self.step in MANY:
            for value in run(task.content):
                child = Task(meta={}, parent_task=task).start(self)
                yield child.finish(value)
        else:
            task.start(self)
            yield task.finish(run(task.content))


class Pipeline(System):  # type: ignore[misc]
    """One pipeline with the stages of a flow."""

    flow: Flow

    def get_num_pipeline(self, resources: Any) -> int:
        """One."""
        return 1

    def get_stages(self, resources: Any) -> list[Any]:
        """A stage for each step."""
        return [Step(resources, step, self.flow.workers) for step in self.flow.steps]


class Here(Peer):
    """A System; each content is a job, or one job makes all tasks in its first stage."""

    streams = False
    _system: Any = None

    def start(self, flow: Flow) -> None:
        """Start the System."""
        if flow.away:
            raise CannotDo("a System is on one host")
        Pipeline.flow = flow
        self._system = Pipeline()
        self._system.start()

    def stop(self) -> None:
        """End the System."""
        if self._system is not None:
            self._system.end(timeout=5)

    def versions(self) -> dict[str, str]:
        """py-turbo's."""
        return {"py-turbo": version("py-turbo")}

    def _add(self, number: int, content: Any, results: int = 1) -> None:
        self._system.add_job(Job(str(number), Task(content), results))

    def _take(self) -> tuple[int, Any]:
        job = self._system.wait_job()
        if not job.success or job.results.failed_tasks:
            raise RuntimeError(f"{job} failed")
        return int(job.name), job.results.results

    def jobs(self, contents: Iterable[Any], in_flight: int) -> Iterator[Any]:
        """Add jobs while there is room; take one that has ended."""
        for (result,) in numbered_jobs(contents, in_flight, self._add, self._take):
            yield result

    def fan_out(self, content: Any, results: int) -> Iterator[Any]:
        """A job's results come when it has ended."""
        self._add(0, content, results)
        yield from self._take()[1]

    def from_threads(self, contents: Iterable[Any], threads: int) -> Iterator[Any]:
        """Results come through one queue."""
        raise CannotDo("results come through one queue")
