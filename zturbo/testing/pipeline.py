"""A pipeline of stages for one test, and its outcome."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import psutil

from zturbo.api.result import Result
from zturbo.api.stage import Stage
from zturbo.api.task import Job, Task
from zturbo.checks import check_count, check_seconds, check_type, did_you_mean
from zturbo.client.client import Client
from zturbo.errors import UsageError
from zturbo.runtime.code.shipping import refuse_in_child
from zturbo.runtime.node.children import Child, ChildSpec
from zturbo.runtime.node.node import Node
from zturbo.system.debug import DebugPipeline
from zturbo.system.processes import Processes
from zturbo.system.system import as_stages, stage_names

__all__ = ["Outcome", "TestPipeline", "run"]

NAME = "test"
"""Name of the pipeline."""

READY = 30.0
"""Seconds that ``kill`` waits for a worker to kill."""


class Outcome(Result):
    """The outcome of a test's pipeline: a list of the contents of its outputs, in order.

    Attributes:
        failed_tasks: tasks that failed, in order; each has ``error``.
        task_count: number of tasks collected, including failed ones.
        tasks: all tasks in order, including failed ones.
        deaths: the workers that died, such as ``["Track: SIGKILL"]``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[Task] = []
        self.deaths: list[str] = []

    def collect(self, task: Task) -> None:
        """Take an output task, or a failed one."""
        super().collect(task)
        self.tasks.append(task)


class TestPipeline:
    """A pipeline of your stages, which runs during a ``with`` statement.

        with TestPipeline([Detect(), Track()], processes=True) as pipeline:
            assert pipeline.run(frames[:10]) == expected[:10]
            pipeline.kill("Track")
            assert pipeline.run(frames) == expected

    A stage is named after its class or function; a second stage of the same class is ``Track-2``. A stage has
    one worker, or as many as ``stage.num_worker`` says.

    Args:
        stages: the pipeline's stages in order: instances, or plain functions.
        processes: True runs real processes: a broker, a sink, and the workers of each stage. False runs all
            stages in this process, one task after another, through the same code and codec; breakpoints work.
        kill: name of a stage. One of its workers dies by SIGKILL, after it took a task and before your code
            runs for it. Implies ``processes``.
        after: number of tasks that the worker does before it dies; in a BatchStage, number of batches. The
            first worker of the stage that gets so far dies, and no other.
        task_timeout: seconds that one task may run in one stage; without effect in this process.

    Attributes:
        client: a :class:`zturbo.Client` of the pipeline's broker; None in this process.
        name: the pipeline's name, for ``client.submit(job, pipeline.name)``.
        deaths: the workers that have died so far, such as ``["Track: SIGKILL"]``.

    Raises:
        UsageError: an argument has a wrong type, or no stage has that name.
        StartError: a stage could not start.
        RuntimeError: a worker imports this script, because ``if __name__ == "__main__":`` is missing.
        AssertionError: at the end of the ``with`` statement, if a process or a file stayed behind, or if the
            planted kill never happened, so that the test proves nothing.
    """

    __test__ = False  # pytest must not collect this class because of its name

    def __init__(
        self,
        stages: Sequence[Stage | Callable[..., Any]],
        *,
        processes: bool = False,
        kill: str | None = None,
        after: int = 0,
        task_timeout: float | None = None,
    ) -> None:
        self._stages = as_stages("TestPipeline: stages", stages)
        self._names = stage_names(self._stages)
        check_type("TestPipeline: processes", processes, bool, "True or False")
        check_count("TestPipeline: after", after, 0)
        if kill is not None:
            self._check_name("kill", kill)
        self._kill = (kill, after)
        self._in_processes = processes or kill is not None
        self._task_timeout = check_seconds("TestPipeline: task_timeout", task_timeout)
        self._folder: Path | None = None
        self._debug: DebugPipeline | None = None
        self._processes: _Watched | None = None
        self.client: Client | None = None
        self.name = NAME
        self.deaths: list[str] = []

    def _check_name(self, what: str, stage: str) -> None:
        check_type(what, stage, str, "the name of a stage")
        if stage not in self._names:
            raise UsageError(f"{what}: there is no stage {stage!r}; {did_you_mean(stage, self._names)}")

    # -- life ---------------------------------------------------------------------------------
    def __enter__(self) -> TestPipeline:
        if not self._in_processes:
            self._debug = DebugPipeline(self._stages, self._names)
            return self
        refuse_in_child("a TestPipeline in processes")
        self._folder = Path(tempfile.mkdtemp(prefix="zturbo-test-"))
        kill, after = self._kill
        planted = None if kill is None else (f"{NAME}.{kill}", after, self._mark)
        pipelines = {NAME: (self._names, self._stages)}
        try:
            self._processes = _Watched(pipelines, self.deaths, planted, self._task_timeout)
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        self.client = self._processes.client
        return self

    @property
    def _mark(self) -> str:
        """Path of the file that the planted worker makes before it dies."""
        return f"{self._folder}/died"

    def __exit__(self, kind: object, *exc: object) -> None:
        processes, folder = self._processes, self._folder
        self._processes = self._debug = self.client = None
        if processes is None or folder is None:
            return
        try:
            processes.stop(kill=kind is not None)
            died = os.path.exists(self._mark)
        finally:
            shutil.rmtree(folder)
        if kind is None:
            left = processes.left()
            assert not left, f"stayed behind: {', '.join(left)}"
            stage, after = self._kill
            assert died or stage is None, (
                f"the planted kill never came: no worker of {stage} got more than {after} tasks"
            )

    # -- work ---------------------------------------------------------------------------------
    def run(self, contents: Iterable[Any] | Task | Job, *, timeout: float = 60.0) -> Outcome:
        """Run a job and collect its results.

        Args:
            contents: an iterable of contents, one for each root task, as for ``Client.map``; or a root task,
                which may have meta, or a job.
            timeout: seconds that the job may take; without effect in this process.

        Raises:
            JobTimeout, ResultTimeout: the job took longer than ``timeout``.
            JobError: the job ended without a result.
        """
        check_type("run: timeout", timeout, Real, "seconds, more than 0")
        check_seconds("run: timeout", timeout)
        outcome = Outcome()
        for task in self._tasks(contents, timeout):
            outcome.collect(task)
        outcome.deaths = self.deaths
        return outcome

    def _tasks(self, contents: Iterable[Any] | Task | Job, timeout: float) -> Iterable[Task]:
        root = contents.task if isinstance(contents, Job) else contents
        if self._debug is not None:
            return self._debug.run(root if isinstance(root, Task) else map(Task, root), logs=True)
        if self.client is None:
            raise UsageError("the pipeline does not run: use it in a with statement")
        if isinstance(root, Task):
            return self.client.submit(Job(NAME, root), NAME).tasks(timeout)
        return self.client.map_tasks(root, NAME, timeout=timeout)

    def kill(self, stage: str) -> int:
        """Kill one worker of a stage now, by SIGKILL. The node starts another one.

        Returns:
            The killed worker's process id.

        Raises:
            UsageError: no stage has that name, or the stages run in this process.
            AssertionError: the stage had no worker within 30 seconds.
        """
        self._check_name("kill", stage)
        if self._processes is None:
            raise UsageError("kill: there is no process to kill; say processes=True")
        pid = self._processes.pid(f"{NAME}.{stage}")
        os.kill(pid, signal.SIGKILL)
        return pid


class _Watched(Processes):
    """Processes with a planted kill, which records the processes that start and the workers that die."""

    def __init__(
        self,
        pipelines: dict[str, tuple[list[str], list[Stage]]],
        deaths: list[str],
        planted: tuple[str, int, str] | None,
        task_timeout: float | None,
    ) -> None:
        self._deaths = deaths
        self._planted = planted
        self._started: list[tuple[str, psutil.Process]] = []
        super().__init__(pipelines, state=None, task_timeout=task_timeout)

    def _make(self, pipelines: dict[str, list[str]], workers: list[ChildSpec], state: Path | None) -> Node:
        for child in workers:
            if self._planted is not None and child.name == self._planted[0]:
                child.module = "zturbo.testing.dying"
                child.spec["planted"] = list(self._planted[1:])
        return super()._make(pipelines, workers, state)

    def _on_event(self, kind: str, child: Child, text: str) -> None:
        if kind == "started":
            with contextlib.suppress(psutil.NoSuchProcess):
                self._started.append((child.what.name, psutil.Process(child.pid)))
        elif kind == "exited" and self._node is not None and not self._node.stopping:
            self._deaths.append(f"{child.what.name.removeprefix(f'{NAME}.')}: {text}")
        super()._on_event(kind, child, text)

    def pid(self, name: str) -> int:
        """Process id of a worker of this stage that is ready."""
        pause = threading.Event()
        for _ in range(int(READY / 0.02)):
            for child in self._node.children if self._node is not None else []:
                if child.what.name == name and child.is_ready and child.process.returncode is None:
                    return child.pid
            pause.wait(0.02)
        raise AssertionError(f"{name} had no worker for {READY:.0f} s")

    def left(self) -> list[str]:
        """Processes and folders that should be gone but are not."""
        left = [f"{name} (process {one.pid})" for name, one in self._started if one.is_running()]
        return left + [f"folder {folder}" for folder in self._folders if folder.exists()]


def run(
    stages: Sequence[Stage | Callable[..., Any]],
    contents: Iterable[Any] | Task | Job,
    *,
    processes: bool = False,
    kill: str | None = None,
    after: int = 0,
    task_timeout: float | None = None,
    timeout: float = 60.0,
) -> Outcome:
    """Run a pipeline of your stages once; the arguments are those of :class:`TestPipeline` and its ``run``.

    outcome = run([Detect(), Track()], frames, kill="Track", after=10)
    assert outcome == expected
    assert outcome.deaths == ["Track: SIGKILL"]
    """
    pipeline = TestPipeline(stages, processes=processes, kill=kill, after=after, task_timeout=task_timeout)
    with pipeline:
        return pipeline.run(contents, timeout=timeout)
