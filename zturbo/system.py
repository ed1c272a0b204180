"""System: all of it on one host behind one object, as pyturbo has it."""

from __future__ import annotations

import atexit
import inspect
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zturbo.checks import check_count, check_names, check_seconds, check_type, wrong
from zturbo.client import Client, JobHandle
from zturbo.debug import DebugPipeline
from zturbo.errors import ResultTimeout, UsageError, ZturboError
from zturbo.kept import KeptJobs
from zturbo.log import get_logger, set_up_logging
from zturbo.options import Options
from zturbo.processes import Processes
from zturbo.progress import Progress
from zturbo.resources import Resources
from zturbo.result import Result
from zturbo.runtime.shipping import in_child
from zturbo.stage import Stage
from zturbo.task import Job, Task
from zturbo.wire.payload import pack_meta, pack_one

__all__ = ["JobWaitTimeout", "System"]

JOBS_AT_ONCE = 16
"""Jobs of one pipeline that are under way; the others wait for their turn, in the order of adding."""


class JobWaitTimeout(ResultTimeout, queue.Empty):
    """No job ended in time; it is a ``TimeoutError``, and the ``queue.Empty`` of pyturbo."""


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
        num_pipeline: how many pipelines; default what :meth:`get_num_pipeline` says.
        debug: run all stages in this process, one after another.
        pipeline_queue_size: kept for pyturbo's sake; queues are bounded by themselves.
        resource_scan_args: for :class:`zturbo.Resources`.
        state_dir: a folder where jobs are kept until their results are taken; another System on it
            later goes on with them. None: they end with this object.
        custom: for :meth:`get_num_pipeline`.

    Attributes:
        resources: what this host has.
        result_queue: jobs that have ended, to be taken by its ``get``, or by :meth:`wait_job`.
        restored: jobs that an earlier System left in ``state_dir``; known once it is started.
        logger: for your own use.

    Raises:
        UsageError: an argument is unknown, or of a wrong type.
    """

    show_progress = True
    """Whether progress is shown on stderr, if the option ``no_progress_bar`` does not say otherwise."""
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
        scan = dict(resource_scan_args or {})
        check_names(f"{name}: resource_scan_args:", scan, list(inspect.signature(Resources).parameters)[1:])
        self.debug_mode = debug or Options.single_sync_pipeline
        self.resources = Resources(**scan)
        self._check_custom(custom)
        field = f"{name}: num_pipeline"
        if num_pipeline is None:
            field = f"what {name}.get_num_pipeline gives"
            num_pipeline = self.get_num_pipeline(self.resources, **custom)
        check_count(field, num_pipeline, 1)
        self.num_pipeline = 1 if self.debug_mode else num_pipeline
        self.state_dir = None if state_dir is None else Path(state_dir)
        self.logger = get_logger(f"zturbo.system.{name}")
        self.result_queue: ResultQueue = ResultQueue(self)
        self.restored: list[Job] = []
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._in_flight = [0] * self.num_pipeline
        self._under_way: set[int] = set()
        self._handles: dict[bytes, JobHandle] = {}
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._state = "new"
        self._kept: KeptJobs | None = None
        self._processes: Processes | None = None
        self._debug: DebugPipeline | None = None
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
        """How many pipelines share the host."""
        return 1

    def get_stages(self, resources: Resources) -> list[Stage]:
        """The stages of one pipeline, with its part of the resources."""
        raise NotImplementedError(f"{type(self).__name__}.get_stages is not written")

    def get_results(self, results_gen: Iterable[Task]) -> Any:
        """What becomes ``job.results``, of the job's output tasks in order.

        An override may also take ``(job, results_gen)``.
        """
        result = Result()
        for task in results_gen:
            result.collect(task)
        return result

    def collect_results(
        self, job: Job, results_gen: Iterable[Task], *, result_cls: type[Result] = Result
    ) -> None:
        """Sets ``job.results``; override it, or ``get_results``.

        A ``collect`` that raises costs that task alone: the error is logged, and the first is ``job.error``.
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
        if not self._built or self._state == "new":
            self.start()
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            self.end()
        else:
            self.terminate()

    def start(self, *, task_timeout: float | None = None, queue_timeout: float | None = None) -> None:
        """Start all processes; returns when they run, however long that takes.

        Args:
            task_timeout: seconds that one task may run in one stage; then its worker is ended, and the
                task fails with ``TaskTimeout``. Without effect in debug mode.
            queue_timeout: kept for pyturbo's sake; without effect.

        Raises:
            StartError: one of them could not start, with its traceback; or ``state_dir`` is in use.
            UsageError: what ``get_stages`` gives is wrong, or the system was started before.
        """
        check_seconds("start: task_timeout", task_timeout)
        check_seconds("start: queue_timeout", queue_timeout)
        if not self._built:
            raise UsageError(f"{type(self).__name__}.__init__ does not call super().__init__()")
        if in_child():
            raise RuntimeError(
                "a System is started while a worker imports the main script: put what starts it under "
                "if __name__ == '__main__':"
            )
        if self._state != "new":
            raise UsageError(f"the system has {self._state} already; make another one to start again")
        pipelines = [self._stages(part) for part in self.resources.split(self.num_pipeline)]
        described = {f"pipeline-{n}": (_names(stages), stages) for n, stages in enumerate(pipelines)}
        set_up_logging()
        atexit.register(self.terminate)
        self._state = "started"
        try:
            if self.state_dir is not None:
                self._kept = KeptJobs(self.state_dir)
                self.restored = self._kept.load()
            if self.debug_mode:
                names, stages = described["pipeline-0"]
                self._debug = DebugPipeline(stages, names)
            else:
                state = None if self._kept is None else self._kept.folder
                self._processes = Processes(described, state=state, task_timeout=task_timeout)
                self._attach({name: names for name, (names, _) in described.items()})
                if self.show_progress and not Options.no_progress_bar:
                    self._progress = Progress()
                    watched = (self._progress, self._processes.client)
                    threading.Thread(
                        target=self._watch, args=watched, name="zturbo-progress", daemon=True
                    ).start()
        except BaseException:
            self.terminate()
            raise
        waiting = [self._todo.get() for _ in range(self._todo.qsize())]
        self._under_way.update(id(job) for job in self.restored)
        for job in self.restored:
            self._enqueue(job)
        for early in waiting:
            assert early is not None
            self._keep(early)
            self._enqueue(early)

    def _stages(self, part: Resources) -> list[Stage]:
        stages = self.get_stages(part)
        name = f"what {type(self).__name__}.get_stages gives"
        if not isinstance(stages, (list, tuple)) or not stages:
            raise wrong(name, stages, "a list of stages")
        for stage in stages:
            if not isinstance(stage, Stage):
                hint = " (make an instance of it)" if inspect.isclass(stage) else ""
                raise wrong(f"{name}, each item,", stage, f"a Stage{hint}")
        return list(stages)

    def _attach(self, pipelines: dict[str, list[str]]) -> None:
        """Take over what the broker has of an earlier System's jobs; let go of what nobody waits for."""
        if self._kept is None:
            return
        assert self._processes is not None
        client = self._processes.client
        same = self._kept.same_stages(pipelines)
        restored = {job.id: job for job in self.restored}
        for known in client.jobs():
            job = restored.get(known["id"])
            handle = client.attach(known["id"])
            if job is not None and same:
                handle._first = 0
                job.pipeline_id = int(known["pipeline"].rpartition("-")[2])
                self._handles[job.id] = handle
                continue
            handle.release()
            if job is not None:
                self._again(job)

    def _watch(self, progress: Progress, client: Client) -> None:
        pause = threading.Event()
        while self._state == "started":
            try:
                progress.update(client.jobs())
            except ZturboError as error:
                self.logger.debug("progress is not shown any more: %s", error)
                return
            pause.wait(0.25)

    def end(self, *, timeout: float | None = None) -> None:
        """Stop all processes. Jobs that are not done are lost, or kept in ``state_dir``.

        Args:
            timeout: seconds after which processes that do not end are killed; default 5.
        """
        check_seconds("end: timeout", timeout)
        if self._state == "started" and self._under_way:
            fate = "lost" if self.state_dir is None else f"kept in {self.state_dir}"
            self.logger.warning(
                "ended with %d jobs that are not done: they are %s", len(self._under_way), fate
            )
        self._stop(kill=False, timeout=timeout)

    def terminate(self, *, timeout: float | None = None) -> None:
        """Stop all processes at once; else as :meth:`end`."""
        check_seconds("terminate: timeout", timeout)
        self._stop(kill=True, timeout=timeout)

    def _stop(self, *, kill: bool, timeout: float | None) -> None:
        self._state = "ended"
        atexit.unregister(self.terminate)
        if self._progress is not None:
            self._progress.close()
            self._progress = None
        processes, self._processes = self._processes, None
        try:
            if processes is not None:
                processes.stop(kill=kill, timeout=timeout)
        finally:
            kept, self._kept = self._kept, None
            if kept is not None:
                kept.close()
            for _ in self._threads:
                self._todo.put(None)
            self.result_queue.wake()

    # -- jobs ---------------------------------------------------------------------------------
    def add_job(self, job: Job, *, timeout: float | None = None) -> None:
        """Submit a job; it comes back through :meth:`wait_job` or ``result_queue``.

        Args:
            job: it may be one that has come back: it is run again.
            timeout: kept for pyturbo's sake; nothing is waited for.

        Raises:
            UsageError: it is no Job, or is under way already, or the system has ended.
            EncodeError: its content or meta cannot be carried.
        """
        check_seconds("add_job: timeout", timeout)
        if not isinstance(job, Job):
            hint = "; wrap it, Job('name', task)" if isinstance(job, Task) else ""
            raise UsageError(f"add_job takes a Job, not a {type(job).__name__}{hint}")
        if self._state == "ended":
            raise UsageError("the system has ended; make another one")
        pack_one(job.task.content)
        pack_one(pack_meta(job.task._meta, job.task._logs))
        with self._lock:
            if id(job) in self._under_way:
                raise UsageError(f"job {job.name!r} is under way already: make another Job of the same task")
            self._under_way.add(id(job))
        job.begin()
        if self._state == "new":
            self._todo.put(job)
            return
        self._keep(job)
        self._enqueue(job)

    def add_jobs(self, jobs: Iterable[Job], *, timeout: float | None = None) -> None:
        """Submit several."""
        for job in jobs:
            self.add_job(job, timeout=timeout)

    def _keep(self, job: Job) -> None:
        if self._kept is not None:
            self._kept.put(job)

    def _enqueue(self, job: Job) -> None:
        with self._lock:
            self._todo.put(job)
            most = min(len(self._under_way), JOBS_AT_ONCE * self.num_pipeline)
            if self._debug is None and len(self._threads) < most:
                name = f"zturbo-jobs-{len(self._threads)}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self) -> None:
        """Do one job after the other."""
        while (job := self._todo.get()) is not None and self._state == "started":
            self._do(job)

    def _do(self, job: Job) -> None:
        """Run a job, again if it fails, and give it back."""
        while True:
            try:
                self._run(job)
                job.success = True
            except Exception as error:  # get_results and collect_results are the user's code
                if self._state == "ended":
                    return
                remote = isinstance(error, ZturboError)
                self.logger.error("job %s failed: %s", job.name, error, exc_info=not remote)
                job.error = error
            if job.success or job.retry <= 0 or Options.raise_exception:
                break
            job.retry -= 1
            self._again(job)
        if Options.no_progress_bar:
            self.logger.info("job %s: %s", job.name, "done" if job.success else "failed")
        if self._kept is None:
            self._release(job.id)
        self.result_queue.put(job)

    def _again(self, job: Job) -> None:
        """Make it a new job, to be run from the beginning."""
        before = job.id
        self._release(before)
        job.begin()
        if self._kept is not None:
            self._kept.put(job)
            self._kept.drop(before)

    def _release(self, job_id: bytes) -> None:
        """Nobody asks the broker for it any more."""
        handle = self._handles.pop(job_id, None)
        if handle is not None:
            try:
                handle.release()
            except ZturboError as error:
                self.logger.debug("not released: %s", error)

    def _run(self, job: Job) -> None:
        """Run a job once."""
        with self._lock:
            if job.id not in self._handles or job.pipeline_id is None:
                job.pipeline_id = min(range(self.num_pipeline), key=self._in_flight.__getitem__)
            number = job.pipeline_id
            self._in_flight[number] += 1
        if Options.no_progress_bar:
            self.logger.info("job %s: begun in pipeline %d", job.name, number)
        failure: list[BaseException] = []
        try:
            tasks = self._tasks(job, number)
            self.collect_results(job, _checked(tasks, failure))
            if failure:  # the user's code may have caught it
                raise failure[0]
        finally:
            with self._lock:
                self._in_flight[number] -= 1

    def _tasks(self, job: Job, number: int) -> Iterator[Task]:
        if self._debug is not None:
            return self._debug.run(job.task, logs=True, raising=Options.raise_exception)
        processes = self._processes
        if processes is None:
            raise UsageError("the system has ended")
        handle = self._handles.get(job.id)
        if handle is None:
            handle = self._handles[job.id] = processes.client.submit(job, pipeline=f"pipeline-{number}")
        return handle.tasks()

    def _stream(self, contents: Iterable[Any]) -> Iterator[Any]:
        """Each content through the pipeline, as one job of many roots; results in any order."""
        if self._processes is None:
            raise UsageError("the system is not started, or in debug mode")
        return self._processes.client.map(contents, pipeline="pipeline-0", ordered=False)

    # -- for the result queue -----------------------------------------------------------------
    def _before_get(self) -> None:
        """Somebody waits for a job."""
        if self._state == "new":
            raise UsageError("the system is not started: call start(), or use it in a with statement")
        if self._debug is not None and self._state == "started" and self._todo.qsize():
            job = self._todo.get()
            assert job is not None
            self._do(job)
        elif self._state == "started" and not self._under_way:
            self.logger.warning("a job is waited for, and none is under way: each has been taken")

    def _taken(self, job: Job) -> None:
        """Somebody has got it."""
        with self._lock:
            self._under_way.discard(id(job))
        if self._kept is not None:
            self._kept.drop(job.id)
            self._release(job.id)
        results = job.results
        if isinstance(results, Result) or (hasattr(results, "collect") and hasattr(results, "merge")):
            try:
                results.merge(job)
            except Exception as error:  # a Result subclass is the user's code
                self.logger.exception("job %s: merge failed", job.name)
                job.error = job.error or error

    def wait_job(self, *, job_timeout: float | None = None, queue_timeout: float | None = None) -> Job:
        """The next job that has ended. Ctrl-C meanwhile ends the system.

        Args:
            job_timeout: seconds to wait.
            queue_timeout: kept for pyturbo's sake; without effect.

        Raises:
            JobWaitTimeout: none ended in time.
            TaskError: with the option ``raise_exception``, what failed; the system is terminated.
            UsageError: the system is not started, or has ended.
        """
        check_seconds("wait_job: job_timeout", job_timeout)
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
        """The next so many jobs, as they end; ``job_timeout`` is for each."""
        check_count("wait_jobs: num_jobs", num_jobs, 0)
        for _ in range(num_jobs):
            yield self.wait_job(job_timeout=job_timeout, queue_timeout=queue_timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'debug' if self.debug_mode else f'x{self.num_pipeline}'})"


class ResultQueue(queue.Queue[Job]):
    """Jobs that have ended; to take one is to have its results.

    In debug mode ``get`` runs the next job, in the caller's thread. Ctrl-C in ``get`` ends the system, and
    so does the end of the system end a ``get`` that waits.
    """

    def __init__(self, system: System) -> None:
        super().__init__()
        self._system = system

    def get(self, block: bool = True, timeout: float | None = None) -> Job:
        """The next job; raises ``queue.Empty`` if there is none in time."""
        system = self._system
        try:
            if self.empty():
                system._before_get()
            until = None if timeout is None else time.monotonic() + timeout
            with self.not_empty:
                while not self._qsize():
                    if system._state == "ended":
                        raise UsageError("the system has ended, and its jobs are gone with it")
                    left = None if until is None else until - time.monotonic()
                    if not block or (left is not None and left <= 0):
                        raise queue.Empty
                    self.not_empty.wait(left)
                job: Job = self._get()
        except KeyboardInterrupt:
            system.terminate()
            raise
        system._taken(job)
        return job

    def wake(self) -> None:
        """Let those who wait look again."""
        with self.not_empty:
            self.not_empty.notify_all()


def _checked(tasks: Iterator[Task], failure: list[BaseException]) -> Iterator[Task]:
    """The tasks; whatever ends them, or has to, is noted in ``failure`` and raised."""
    try:
        for task in tasks:
            if not task.success and Options.raise_exception and task.error is not None:
                raise task.error
            yield task
    except Exception as error:  # whatever a job or, with raise_exception, a task raises
        failure.append(error)
        raise


def _names(stages: list[Stage]) -> list[str]:
    """Names of a pipeline's stages: their classes', with numbers where these repeat."""
    names: list[str] = []
    for stage in stages:
        name = type(stage).__name__
        count = sum(other == name or other.startswith(f"{name}-") for other in names)
        names.append(f"{name}-{count + 1}" if count else name)
    return names
