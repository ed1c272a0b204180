"""The jobs of a ``System``: those that wait, those that are under way, and those that have ended.

Threads do one job after the other: each submits its job, hands the results to the user's code, and runs the
job again if it fails. In debug mode there are no such threads: a thread that waits for a job runs the next
one itself.
"""

from __future__ import annotations

import copy
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from logging import Logger
from typing import TYPE_CHECKING, Any

from zturbo.api.log import log_with_remote_traceback
from zturbo.api.options import Options
from zturbo.api.result import Result
from zturbo.api.task import Job, Task
from zturbo.client.client import Client, JobHandle
from zturbo.client.process import check_process
from zturbo.client.reader import FailedTask
from zturbo.errors import UsageError, ZturboError
from zturbo.slotted import field, slotted
from zturbo.system.quitting import quits
from zturbo.system.records import JobRecords
from zturbo.terminal.board import one_line

if TYPE_CHECKING:
    from zturbo.system.debug import DebugPipeline

__all__ = ["ResultQueue", "SystemJobs"]

JOBS_AT_ONCE = 16
"""Jobs of one pipeline that are under way; the others wait for their turn, in the order of adding."""


FAILURES_TOLD = 20
"""Failed tasks of one job that get a line each in the log; the others are only counted."""


@slotted
class _Attempt:
    """One run of a job."""

    number: int
    """Of its pipeline."""
    tasks: Iterator[Task]
    """The output tasks, as they come."""
    failure: list[BaseException] = field(default_factory=list)
    """The error that ended the run; empty if there is none."""


class SystemJobs:
    """Jobs of one System.

    Args:
        num_pipeline: number of pipelines, among which the jobs are divided.
        collect: the user's code, which sets a job's results from its tasks.
        interrupted: called when Ctrl-C comes while a thread waits for a job.
        logger: of the System.
        ended: called with each job that has ended, before the broker forgets it.

    Attributes:
        state: ``new``, ``started`` or ``ended``.
        ended: the queue of jobs that have ended.
    """

    def __init__(
        self,
        num_pipeline: int,
        *,
        collect: Callable[[Job, Iterator[Task]], None],
        interrupted: Callable[[], None],
        logger: Logger,
        ended: Callable[[Job], None],
    ) -> None:
        self._when_ended = ended
        self.state = "new"
        self._pid = os.getpid()
        self.ended = ResultQueue(self, interrupted)
        self._collect = collect
        self._log = logger
        self._in_flight = [0] * num_pipeline
        """Runs that are under way in each pipeline."""
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        """Jobs that wait for a thread; None ends a thread."""
        self._under_way: set[int] = set()
        """``id`` of each job that was added and not taken yet."""
        self._roots: dict[int, Task] = {}
        """``id`` of a job that has not ended -> its root task, as it was when the job was added."""
        self._contexts: dict[int, dict[str, Any]] = {}
        """``id`` of a job that has not ended -> the option with the context of its caller's trace, if any."""
        self._handles: dict[str, JobHandle] = {}
        """Jobs that the broker has, by their ids there."""
        self._threads: list[threading.Thread] = []
        self._lock = threading.RLock()
        self._turn = threading.Lock()
        """Held by a thread that takes a job and submits it: so jobs are submitted in the order of adding."""
        self._records: JobRecords | None = None
        self._debug: DebugPipeline | None = None
        self._client: Client | None = None

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a forked child: the threads and processes are the parent's."""
        return os.getpid() != self._pid

    def check_process(self) -> None:
        """Raise UsageError in a forked child."""
        advice = "it runs there alone. Make another System here, in the child"
        check_process(self._pid, "this System", advice)

    def __len__(self) -> int:
        """Jobs that were added and not taken yet."""
        return len(self._under_way)

    # -- life ---------------------------------------------------------------------------------
    def _attach(
        self, client: Client, records: JobRecords, restored: list[Job], pipelines: dict[str, list[str]]
    ) -> None:
        """Take over the jobs that the broker has of an earlier System. Release those without a record."""
        same = records.stages() == pipelines
        jobs = {job.id: job for job in restored}
        for known in client.jobs():
            job = jobs.get(known["id"])
            from_start = job is not None and same
            self._handles[known["id"]] = client.attach(known["id"], from_start=from_start)
            if job is not None and same:
                job.pipeline_id = list(pipelines).index(known["pipeline"])
            elif job is not None:
                self._again(job)
            else:
                self._release(known["id"])
        records.note_stages(pipelines)

    def open(
        self,
        restored: list[Job],
        pipelines: dict[str, list[str]],
        *,
        records: JobRecords | None,
        client: Client | None,
        debug: DebugPipeline | None,
    ) -> None:
        """Begin, first with an earlier System's jobs, then with the jobs that were added before the start.

        Args:
            restored: the jobs that have a record.
            pipelines: pipeline -> names of its stages, as they are now.
            records: the records; None without a ``state_dir``.
            client: of the broker; None in debug mode.
            debug: the pipeline of debug mode; None else.
        """
        self._records, self._client, self._debug = records, client, debug
        if client is not None and records is not None:
            self._attach(client, records, restored, pipelines)
        early = [self._todo.get() for _ in range(self._todo.qsize())]
        self._under_way.update(id(job) for job in restored)
        for job in restored:
            self._enqueue(job)
        for new in early:
            assert new is not None
            self._begin(new)

    def close(self) -> None:
        """The System has ended."""
        self.state = "ended"
        self._records = None
        for _ in self._threads:
            self._todo.put(None)
        self.ended.wake()

    # -- jobs ---------------------------------------------------------------------------------
    def add(self, job: Job, root: Task, context: dict[str, Any]) -> None:
        """Add a job.

        Args:
            job: the job.
            root: its root task.
            context: the option with the context of the caller's trace, if there is one.

        Raises:
            UsageError: the job is under way already.
        """
        self.check_process()
        with self._lock:
            if id(job) in self._under_way:
                raise UsageError(f"job {job.name!r} is under way already: make another Job of the same task")
            self._under_way.add(id(job))
        self._roots[id(job)], self._contexts[id(job)] = root, context
        job.begin()
        if self.state == "new":
            self._todo.put(job)
        else:
            self._begin(job)

    def _begin(self, job: Job) -> None:
        if self._records is not None:
            self._records.put(self._sent(job))
        self._enqueue(job)

    def _sent(self, job: Job) -> Job:
        """A copy of the job, with its root as it was when the job was added."""
        sent = copy.copy(job)
        sent.task = self._roots.get(id(job), job.task)
        return sent

    def _enqueue(self, job: Job) -> None:
        with self._lock:
            self._todo.put(job)
            most = min(len(self._under_way), JOBS_AT_ONCE * len(self._in_flight))
            if self._debug is None and len(self._threads) < most:
                name = f"zturbo-jobs-{len(self._threads)}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self) -> None:
        """Do one job after the other."""
        while True:
            with self._turn:
                job = self._todo.get()
                if job is None or self.state != "started":
                    return
                attempt = self._attempt(job)
            self._do(job, attempt)

    def _do(self, job: Job, attempt: _Attempt) -> None:
        """Finish a job that has begun, run it again if it fails, and put it into the queue of ended ones."""
        while True:
            try:
                self._finish(job, attempt)
                job.success = True
            except BaseException as error:  # get_results and collect_results are the user's code
                if self._debug is not None and (quits(error) or not isinstance(error, Exception)):
                    raise  # in the thread that waits for the job
                if self.state == "ended":
                    return
                remote = isinstance(error, ZturboError)
                self._log.error("job %s failed: %s", job.name, error, exc_info=not remote)
                job.error = error
            if job.success or job.retry <= 0 or Options.raise_exception:
                break
            job.retry -= 1
            self._again(job)
            attempt = self._attempt(job)
        if Options.no_progress_bar:
            self._log.info("job %s: %s", job.name, "done" if job.success else "failed")
        self._roots.pop(id(job), None)
        self._contexts.pop(id(job), None)
        self._when_ended(job)
        if self._records is None:
            self._release(job.id)
        self.ended.put(job)

    def _again(self, job: Job) -> None:
        """Give the job a new id, so that it runs from the beginning, and release the old one."""
        before = job.id
        self._release(before)
        job.begin()
        if self._records is not None:
            self._records.put(self._sent(job))
            self._records.drop(before)

    def _release(self, job_id: str) -> None:
        """Let the broker forget the job."""
        handle = self._handles.pop(job_id, None)
        if handle is not None:
            try:
                handle.release()
            except ZturboError as error:
                self._log.debug("not released: %s", error)

    def _attempt(self, job: Job) -> _Attempt:
        """Begin one run of a job."""
        with self._lock:
            if job.id not in self._handles or job.pipeline_id is None:
                job.pipeline_id = min(range(len(self._in_flight)), key=self._in_flight.__getitem__)
            number = job.pipeline_id
            self._in_flight[number] += 1
        if Options.no_progress_bar:
            self._log.info("job %s: begun in pipeline %d", job.name, number)
        try:
            return _Attempt(number, self._tasks(job, number))
        except Exception as error:  # _finish raises it
            return _Attempt(number, iter(()), [error])

    def _finish(self, job: Job, attempt: _Attempt) -> None:
        """Hand all tasks of a run to the user's code."""
        try:
            if not attempt.failure:
                self._collect(job, _checked(self._told(job, attempt.tasks), attempt.failure))
            if attempt.failure:  # the user's code may have caught it
                raise attempt.failure[0]
        finally:
            with self._lock:
                self._in_flight[attempt.number] -= 1

    def _told(self, job: Job, tasks: Iterator[Task]) -> Iterator[Task]:
        """The tasks. The log gets a line for each of the first failed ones."""
        failed = 0
        for task in tasks:
            if not task.success:
                failed += 1
                if failed <= FAILURES_TOLD:
                    self._tell_failed(job, task, failed)
            yield task
        if failed > FAILURES_TOLD:
            more = failed - FAILURES_TOLD
            self._log.error("job %s: %d more tasks failed, see its results' failed_tasks", job.name, more)

    def _tell_failed(self, job: Job, task: Task, number: int) -> None:
        note = f"its traceback: job.results.failed_tasks[{number - 1}].traceback"
        given = task.shown if isinstance(task, FailedTask) and not task.note else "not kept"
        text = f"job {one_line(job.name)}: a task failed: {task.error}; input: {given}; {note}"
        log_with_remote_traceback(self._log, text, getattr(task, "traceback", ""))

    def _tasks(self, job: Job, number: int) -> Iterator[Task]:
        if self._debug is not None:
            return self._debug.run(self._sent(job).task, logs=True, raising=Options.raise_exception)
        assert self._client is not None
        handle = self._handles.get(job.id)
        if handle is None:
            context = self._contexts.get(id(job), {})
            handle = self._handles[job.id] = self._client.submit(
                self._sent(job), pipeline=f"pipeline-{number}", **context
            )
        return handle.tasks()

    # -- for the queue of jobs that have ended ------------------------------------------------
    def wanted(self) -> None:
        """A thread is about to wait for a job; in debug mode it runs the next one."""
        if self.state == "new":
            raise UsageError("the system is not started: call start(), or use it in a with statement")
        if self._debug is not None and self.state == "started" and self._todo.qsize():
            job = self._todo.get()
            assert job is not None
            self._do(job, self._attempt(job))
        elif self.state == "started" and not self._under_way:
            self._log.warning("the program waits for a job, but it has taken all jobs that it has added")

    def taken(self, job: Job) -> None:
        """The program has taken a job from the queue."""
        with self._lock:
            self._under_way.discard(id(job))
        if self._records is not None:
            self._records.drop(job.id)
            self._release(job.id)
        results = job.results
        if isinstance(results, Result) or (hasattr(results, "collect") and hasattr(results, "merge")):
            try:
                results.merge(job)
            except Exception as error:  # a Result subclass is the user's code
                self._log.exception("job %s: merge failed", job.name)
                job.error = job.error or error


class ResultQueue(queue.Queue[Job]):
    """Jobs that have ended, with their results.

    In debug mode ``get`` runs the next job, in the caller's thread. Ctrl-C in ``get`` ends the system. A
    ``get`` that waits when the system ends raises UsageError.
    """

    def __init__(self, jobs: SystemJobs, interrupted: Callable[[], None]) -> None:
        super().__init__()
        self._jobs = jobs
        self._interrupted = interrupted

    def get(self, block: bool = True, timeout: float | None = None) -> Job:
        """The next job. Raises ``queue.Empty`` if none ends in time, UsageError if none can come."""
        jobs = self._jobs
        jobs.check_process()
        try:
            if self.empty():
                jobs.wanted()
            until = None if timeout is None else time.monotonic() + timeout
            with self.not_empty:
                while not self._qsize():
                    if jobs.state == "ended":
                        raise UsageError("the system has ended, and its jobs are gone with it")
                    left = None if until is None else until - time.monotonic()
                    if not block or (left is not None and left <= 0):
                        raise queue.Empty
                    self.not_empty.wait(left)
                job: Job = self._get()
        except BaseException as error:
            if quits(error) or isinstance(error, KeyboardInterrupt):
                self._interrupted()
            raise
        jobs.taken(job)
        return job

    def wake(self) -> None:
        """Wake the threads that wait, so that they see the end of the system."""
        with self.not_empty:
            self.not_empty.notify_all()


def _checked(tasks: Iterator[Task], failure: list[BaseException]) -> Iterator[Task]:
    """The tasks. An error that ends them is put into ``failure`` and raised."""
    try:
        for task in tasks:
            if not task.success and Options.raise_exception and task.error is not None:
                raise task.error
            yield task
    except Exception as error:  # the job's error or, with raise_exception, a task's
        failure.append(error)
        raise
