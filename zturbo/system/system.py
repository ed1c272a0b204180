"""System: broker, sink and workers on one host behind one object, as pyturbo has it."""

from __future__ import annotations

import atexit
import inspect
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zturbo.api.log import get_logger, set_up_logging
from zturbo.api.options import Options
from zturbo.api.result import Result
from zturbo.api.stage import Stage
from zturbo.api.stage_kinds import FunctionStage
from zturbo.api.task import Job, Task
from zturbo.checks import check_count, check_names, check_seconds, check_type, wrong
from zturbo.client.client import Client
from zturbo.client.tracecontext import with_context
from zturbo.errors import ResultTimeout, UsageError
from zturbo.hardware.resources import Resources
from zturbo.runtime.code.restored import restore
from zturbo.runtime.code.shipping import refuse_in_child
from zturbo.system.jobs import ResultQueue, SystemJobs
from zturbo.system.processes import Processes
from zturbo.system.records import JobRecords
from zturbo.terminal.progress import Progress
from zturbo.wire.payload import pack_meta, pack_one, take, unpack_one
from zturbo.wire.traceparent import TRACEPARENT

__all__ = ["JobWaitTimeout", "System", "as_stages", "stage_names"]

MOST_PIPELINES = 10_000
"""Pipelines of a system at most: no machine runs more."""


class JobWaitTimeout(ResultTimeout, queue.Empty):
    """No job ended in time. It is a ``TimeoutError``, and a ``queue.Empty`` as in pyturbo."""


class System:
    """Pipelines of one kind on this host.

    Subclasses say what a pipeline's stages are::

        class MySystem(System):
            def get_stages(self, resources):
                return [Decode(resources), Detect(resources), Track(resources)]

        with MySystem() as system:
            system.add_job(Job("clip", Task("bikes.mp4")))
            job = system.wait_job()
            print(job.results)

    Ctrl-C while a job is waited for, or in the with statement, ends all processes.

    Args:
        num_pipeline: number of pipelines; default :meth:`get_num_pipeline`.
        debug: run all stages in this process, one after another.
        pipeline_queue_size: accepted as in pyturbo, without effect: queues are bounded by themselves.
        resource_scan_args: for :class:`zturbo.Resources`.
        state_dir: a folder that keeps jobs until their results are taken; a later System on the same folder
            goes on with them. None: jobs end with this object.
        custom: for :meth:`get_num_pipeline`.

    Attributes:
        resources: CPUs and GPUs of this host.
        result_queue: jobs that have ended, to be taken by its ``get``, or by :meth:`wait_job`.
        restored: jobs that an earlier System left in ``state_dir``; known once it is started.
        logger: for the program's own use.

    Raises:
        UsageError: an argument is unknown, or of a wrong type.
    """

    show_progress = True
    """Whether progress is shown on stderr, unless the option ``no_progress_bar`` forbids it."""
    _built = False

    def __init__(
        self,
        num_pipeline: int | None = None,
        *,
        debug: bool = False,
        pipeline_queue_size: int = 16,
        resource_scan_args: Mapping[str, Any] | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        **custom: Any,
    ) -> None:
        name = type(self).__name__
        check_type(f"{name}: debug", debug, bool, "True or False")
        check_count(f"{name}: pipeline_queue_size", pipeline_queue_size, 1)
        check_type(f"{name}: resource_scan_args", resource_scan_args, (Mapping, type(None)), "a dict")
        check_type(f"{name}: state_dir", state_dir, (str, os.PathLike, type(None)), "a path or None")
        if state_dir == "":  # it would be the working directory, which becomes private
            raise wrong(f"{name}: state_dir", state_dir, "a path or None")
        scan = dict(resource_scan_args or {})
        check_names(f"{name}: resource_scan_args:", scan, list(inspect.signature(Resources).parameters)[1:])
        self.debug_mode = debug or Options.single_sync_pipeline
        self.resources = Resources(**scan)
        self._check_custom(custom)
        field = f"{name}: num_pipeline"
        if num_pipeline is None:
            field = f"what {name}.get_num_pipeline gives"
            num_pipeline = self.get_num_pipeline(self.resources, **custom)
        num_pipeline = check_count(field, num_pipeline, 1, MOST_PIPELINES)
        self.num_pipeline = 1 if self.debug_mode else num_pipeline
        self.state_dir = None if state_dir is None else Path(state_dir)
        self.logger = get_logger(f"zturbo.system.{name}")
        self.restored: list[Job] = []
        self._jobs = SystemJobs(
            self.num_pipeline,
            collect=self.collect_results,
            interrupted=self.terminate,
            logger=self.logger,
            ended=self._ended,
        )
        self.result_queue: ResultQueue = self._jobs.ended
        self._records: JobRecords | None = None
        self._processes: Processes | None = None
        self._progress: Progress | None = None
        self._built = True

    def _check_custom(self, custom: dict[str, Any]) -> None:
        parameters = inspect.signature(self.get_num_pipeline).parameters.values()
        if type(self).get_num_pipeline is not System.get_num_pipeline:
            if any(p.kind is p.VAR_KEYWORD for p in parameters):
                return
            taken = [p.name for p in parameters][1:]
        else:
            taken = []
        own = [
            name for name in inspect.signature(System.__init__).parameters if name not in ("self", "custom")
        ]
        check_names(f"{type(self).__name__}: the argument", custom, [*own, *taken])

    # -- what subclasses say ------------------------------------------------------------------
    def get_num_pipeline(self, resources: Resources, **custom: Any) -> int:
        """Number of pipelines among which the host is divided."""
        return 1

    def get_stages(self, resources: Resources) -> list[Stage]:
        """The stages of one pipeline, for its part of the resources."""
        raise NotImplementedError(f"{type(self).__name__}.get_stages is not written")

    def get_results(self, results_gen: Iterable[Task]) -> Any:
        """Make ``job.results`` of the job's output tasks, which come in order.

        An override may also take ``(job, results_gen)``.
        """
        result = Result()
        for task in results_gen:
            result.collect(task)
        return result

    def collect_results(
        self, job: Job, results_gen: Iterable[Task], *, result_cls: type[Result] = Result
    ) -> None:
        """Set ``job.results``; override this method, or ``get_results``.

        If ``collect`` raises for a task, that task alone is left out. The error is logged, and the first one
        becomes ``job.error``.
        """
        if type(self).get_results is not System.get_results:
            get_results: Any = self.get_results
            two = len(inspect.signature(get_results).parameters) > 1
            job.results = get_results(job, results_gen) if two else get_results(results_gen)
            return
        job.results = result_cls()
        for task in results_gen:
            try:
                job.results.collect(task)
            except Exception as error:  # a Result subclass is the user's code
                self.logger.exception("job %s: collect failed for %r", job.name, task)
                job.error = job.error or error

    # -- life ---------------------------------------------------------------------------------
    def __enter__(self) -> System:
        if not self._built or self._jobs.state == "new":
            self.start()
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            self.end()
        else:
            self.terminate()

    def start(self, *, task_timeout: float | None = None, queue_timeout: float | None = None) -> None:
        """Start all processes. Returns when they run, however long that takes.

        Args:
            task_timeout: seconds that one task may run in one stage; then its worker is ended, and the
                task fails with ``TaskTimeout``. Without effect in debug mode.
            queue_timeout: accepted as in pyturbo, without effect.

        Raises:
            StartError: a process could not start (with its traceback), or ``state_dir`` is in use.
            UsageError: ``get_stages`` gives no list of stages, or the system was started before.
        """
        task_timeout = check_seconds("start: task_timeout", task_timeout)
        check_seconds("start: queue_timeout", queue_timeout)
        if not self._built:
            raise UsageError(f"{type(self).__name__}.__init__ does not call super().__init__()")
        refuse_in_child("a System")
        if self._jobs.state != "new":
            raise UsageError(f"the system has {self._jobs.state} already; make another one to start again")
        described = self.describe()
        set_up_logging()
        atexit.register(self.terminate)
        self._jobs.state = "started"
        try:
            self._open(described, task_timeout)
        except BaseException:
            self.terminate()
            raise

    def _open(self, described: dict[str, tuple[list[str], list[Stage]]], task_timeout: float | None) -> None:
        records = client = debug = None
        if self.state_dir is not None:
            records = self._records = JobRecords(self.state_dir)
            self.restored = records.load()
        if self.debug_mode:
            from zturbo.system.debug import DebugPipeline  # here, since it imports all that runs a stage

            names, stages = described["pipeline-0"]
            debug = DebugPipeline(stages, names)
        else:
            state = None if records is None else records.folder
            shown = self.show_progress and not Options.no_progress_bar
            progress = self._progress = Progress() if shown else None
            output = None if progress is None else progress.output
            self._processes = Processes(described, state=state, task_timeout=task_timeout, output=output)
            client = self._processes.client
            if progress is not None:
                watched = (progress, client)
                threading.Thread(
                    target=self._watch, args=watched, name="zturbo-progress", daemon=True
                ).start()
        pipelines = {name: names for name, (names, _) in described.items()}
        self._jobs.open(self.restored, pipelines, records=records, client=client, debug=debug)

    def describe(self) -> dict[str, tuple[list[str], list[Stage]]]:
        """The system's pipelines: name -> (names of the stages, the stages), as ``get_stages`` gives them.

        Raises:
            UsageError: ``get_stages`` gives no list of stages.
        """
        pipelines = [self._stages(part) for part in self.resources.split(self.num_pipeline)]
        return {f"pipeline-{n}": (stage_names(stages), stages) for n, stages in enumerate(pipelines)}

    def _stages(self, part: Resources) -> list[Stage]:
        return as_stages(f"what {type(self).__name__}.get_stages gives", self.get_stages(part))

    def _watch(self, progress: Progress, client: Client) -> None:
        try:
            progress.follow(client.describe, lambda: self._jobs.state == "started")
        except Exception as error:  # the work goes on without a display
            self.logger.debug("progress is not shown any more: %s", error)

    def _ended(self, job: Job) -> None:
        """A job has ended: the display knows it before the broker forgets it."""
        if self._progress is not None:
            results = job.results if isinstance(job.results, list) else []
            failed = len(getattr(job.results, "failed_tasks", ()))
            self._progress.ended(job.id, job.name, success=job.success, results=len(results), failed=failed)

    def end(self, *, timeout: float | None = None) -> None:
        """Stop all processes. Jobs that are not done are lost, or stay in ``state_dir``.

        Args:
            timeout: seconds after which processes that have not ended are killed; default 5.
        """
        timeout = check_seconds("end: timeout", timeout)
        if self._jobs.state == "started" and len(self._jobs):
            fate = "lost" if self.state_dir is None else f"kept in {self.state_dir}"
            self.logger.warning("ended with %d jobs that are not done: they are %s", len(self._jobs), fate)
        self._stop(kill=False, timeout=timeout)

    def terminate(self, *, timeout: float | None = None) -> None:
        """Kill all processes; in all else as :meth:`end`."""
        timeout = check_seconds("terminate: timeout", timeout)
        self._stop(kill=True, timeout=timeout)

    def _stop(self, *, kill: bool, timeout: float | None) -> None:
        if self._jobs.forked:
            return  # the processes are the parent's, which goes on
        self._jobs.state = "ended"
        atexit.unregister(self.terminate)
        progress, self._progress = self._progress, None
        processes, self._processes = self._processes, None
        try:
            if processes is not None:
                processes.stop(kill=kill, timeout=timeout)
        finally:
            if progress is not None:
                progress.close()
            records, self._records = self._records, None
            if records is not None:
                records.close()
            self._jobs.close()

    # -- jobs ---------------------------------------------------------------------------------
    def add_job(self, job: Job, *, timeout: float | None = None, traceparent: str | None = None) -> None:
        """Submit a job, with its root task as it is now. It comes back through :meth:`wait_job` or
        ``result_queue``. The context of this thread's current span of OpenTelemetry travels with it.

        Args:
            job: a job that has come back may be added again: it runs again.
            timeout: accepted as in pyturbo, without effect: this call does not wait.
            traceparent: context of the caller's trace, in the W3C's form, in place of that of this thread's
                current span; one that is not valid is dropped.

        Raises:
            UsageError: ``job`` is no Job, or is under way already, or the system has ended.
            EncodeError: the root's content or meta cannot be carried.
        """
        timeout = check_seconds("add_job: timeout", timeout)
        if not isinstance(job, Job):
            hint = "; wrap it, Job('name', task)" if isinstance(job, Task) else ""
            raise UsageError(f"add_job takes a Job, not a {type(job).__name__}{hint}")
        if self._jobs.state == "ended":
            raise UsageError("the system has ended; make another one")
        context = with_context({} if traceparent is None else {TRACEPARENT: traceparent})
        self._jobs.add(job, _as_it_is(job.task), context)

    def add_jobs(
        self, jobs: Iterable[Job], *, timeout: float | None = None, traceparent: str | None = None
    ) -> None:
        """Submit several, as :meth:`add_job` does."""
        for job in jobs:
            self.add_job(job, timeout=timeout, traceparent=traceparent)

    def _stream(self, contents: Iterable[Any]) -> Iterator[Any]:
        """Each content through the pipeline, as one job of many roots; results in any order."""
        if self._processes is None:
            raise UsageError("the system is not started, or in debug mode")
        return self._processes.client.map(contents, pipeline="pipeline-0", ordered=False)

    def wait_job(self, *, job_timeout: float | None = None, queue_timeout: float | None = None) -> Job:
        """The next job that has ended. Ctrl-C meanwhile ends the system.

        Args:
            job_timeout: seconds to wait.
            queue_timeout: accepted as in pyturbo, without effect.

        Raises:
            JobWaitTimeout: none ended in time.
            TaskError: with the option ``raise_exception``, the failed task's error; the system is terminated.
            UsageError: the system is not started, or has ended.
        """
        job_timeout = check_seconds("wait_job: job_timeout", job_timeout)
        check_seconds("wait_job: queue_timeout", queue_timeout)
        try:
            job = self.result_queue.get(timeout=job_timeout)
        except queue.Empty:
            raise JobWaitTimeout(f"no job ended within {job_timeout} s") from None
        if job.error is not None and Options.raise_exception:
            self.terminate()
            raise job.error
        return job

    def wait_jobs(
        self, num_jobs: int, *, job_timeout: float | None = None, queue_timeout: float | None = None
    ) -> Iterator[Job]:
        """The next ``num_jobs`` jobs, as they end; ``job_timeout`` is for each."""
        check_count("wait_jobs: num_jobs", num_jobs, 0)
        for _ in range(num_jobs):
            yield self.wait_job(job_timeout=job_timeout, queue_timeout=queue_timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'debug' if self.debug_mode else f'x{self.num_pipeline}'})"


def as_stages(field: str, stages: Any) -> list[Stage]:
    """Stages as a user gives them: a list of instances and functions.

    Raises:
        UsageError: the value is no such list; the error names the field.
    """
    if not isinstance(stages, (list, tuple)) or not stages:
        raise wrong(field, stages, "a list of stages")
    found: list[Stage] = []
    for stage in stages:
        if not isinstance(stage, Stage) and (inspect.isclass(stage) or not callable(stage)):
            hint = " (make an instance of it)" if inspect.isclass(stage) else ""
            raise wrong(f"{field}, each item,", stage, f"a Stage{hint} or a function")
        found.append(stage if isinstance(stage, Stage) else FunctionStage(stage))
    return found


def stage_names(stages: list[Stage]) -> list[str]:
    """Names of a pipeline's stages: the names of their classes, with numbers where these repeat."""
    names: list[str] = []
    for stage in stages:
        name = stage.name if isinstance(stage, FunctionStage) else type(stage).__name__
        count = sum(other == name or other.startswith(f"{name}-") for other in names)
        names.append(f"{name}-{count + 1}" if count else name)
    return names


def _as_it_is(task: Task) -> Task:
    """A copy of a root task that the program cannot change: packed, or of types that cannot change.

    Raises EncodeError.
    """
    content = take(task.content, task._owned)
    pack_one(content)
    return restore(content, unpack_one(*pack_one(pack_meta(task._meta, task._logs))))
