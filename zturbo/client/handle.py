"""What a client has of a job that it submitted or attached to: a future with a stream of results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, cast

from zturbo.api.result import FailedTasks, Result
from zturbo.api.task import Task
from zturbo.checks import check_timeout, check_type, wrong
from zturbo.client.acceptance import Acceptance
from zturbo.client.connection import Connection
from zturbo.client.job_ids import short
from zturbo.client.outcome import JobOutcome
from zturbo.client.reader import FailedTask
from zturbo.client.reading import JobReading
from zturbo.client.retry import retry
from zturbo.errors import BrokerUnavailable, JobCancelled, JobError, ZturboError
from zturbo.htmltext import facts, table
from zturbo.jobstates import LIVE
from zturbo.wire.control import to_broker
from zturbo.wire.control.message import Answer, Request

__all__ = ["JobHandle", "deadline_of"]

log = logging.getLogger("zturbo.client")


def deadline_of(field: str, timeout: float | None) -> float | None:
    """When a time-out that begins now is over; raises UsageError if it is none."""
    timeout = check_timeout(field, timeout)
    return None if timeout is None else time.monotonic() + timeout


class _Waiters(list[Any]):
    """Waiters of :mod:`concurrent.futures`: from the first one on, the broker is asked for the job's end."""

    def __init__(self, begin: Callable[[], None]) -> None:
        super().__init__()
        self._begin = begin

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        self._begin()


class JobHandle(futures.Future[Result]):
    """A submitted job: a :class:`concurrent.futures.Future` of its result, and more.

    It may be handed to ``asyncio.wrap_future``, ``concurrent.futures.wait`` and ``as_completed``. A job lives
    at the broker: a handle only looks at it, and a second one of the same job may be had by
    ``Client.attach``. A reader of a job's results takes them over from the reader before it.

    In a ``with`` statement it is released at the end: a job that is not done by then is cancelled.

    Attributes:
        id: 32 hexadecimal digits; another process may ``attach`` with it.
        name: what it was called.
        failed_tasks: failed tasks that have come so far.
        reading: of the job's results; not for programs.
        outcome: what is known of the job's end; not for programs.
    """

    def __init__(
        self, connection: Connection, job_id: bytes, name: str, acceptance: Acceptance, first: int
    ) -> None:
        super().__init__()
        self._connection = connection
        self.id = job_id.hex()
        self._raw_id = job_id
        self.name = name
        self.reading = JobReading(connection, job_id, acceptance, first)
        self.failed_tasks = self.reading.failed_tasks
        self.outcome = JobOutcome(self, self.reading, JobHandle.result)
        self._waiters: list[Any] = _Waiters(self.outcome.watch)

    def __repr__(self) -> str:
        return f"<JobHandle {self.name!r} {self.id}>"

    def _repr_html_(self) -> str:
        """For notebooks: how far the job is, as far as the broker answers."""
        try:
            status = self.status()
        except ZturboError as error:
            return facts([("job", self.name), ("id", self.id), ("status", f"not known: {error}")])
        state = status["state"] + (f", waits for {status['waiting']}" if status["waiting"] else "")
        known = [("job", self.name), ("id", self.id), ("pipeline", status["pipeline"]), ("state", state)]
        known += [("results", status["results"]), ("failed tasks", status["failed"])]
        if status["error"]:
            known.append(("error", status["error"]))
        columns = ("stage", "queued", "running", "done", "failed")
        counts = [[one[column] for column in columns] for one in status["counts"]]
        return facts(known) + (table(columns, counts) if counts else "")

    def __enter__(self) -> JobHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.release()
        except ZturboError as error:
            log.debug("not released: %s", error)

    # -- the broker ---------------------------------------------------------------------------
    def accepted(self, timeout: float | None = None) -> JobHandle:
        """Wait until the job is in the broker's ledger, as safe as its durability says. Returns this handle.

        Args:
            timeout: seconds to wait; None for as long as the client's questions to the broker may take, and
                as long as the broker says that it has no room for the job.

        Raises:
            JobConflict: the broker has another job under this id.
            UnknownPipeline: it has no such pipeline (any more).
            BrokerUnavailable: it does not answer, or not in time. It may still take the job later.
        """
        timeout = check_timeout("accepted: timeout", timeout)
        try:
            self.reading.acceptance.result(timeout)
        except futures.TimeoutError:
            held = self.reading.acceptance.held
            what = f"taken the job within {timeout:g} s: {held}" if held else f"answered within {timeout:g} s"
            raise BrokerUnavailable(f"the broker has not {what}") from None
        return self

    def _ask(self, message: Request[Answer]) -> Answer:
        """Ask the broker about the job, once it has it."""
        self._connection.check_process()
        self.reading.acceptance.result()
        return self._connection.send(message).result()

    # -- results ------------------------------------------------------------------------------
    def stream(self, timeout: float | None = None, *, keep: bool = True) -> Iterator[Any]:
        """Contents in order, as soon as the order allows. Failed tasks go to ``failed_tasks``.

        Args:
            timeout: seconds for all of it; None for no limit.
            keep: False lets the sink free results that were taken from this iterator. Nobody reads them
                again then: not ``result()``, and not a reader that begins at the start. Large results that
                are read soon take no room on the disk, and less time.

        Raises:
            ResultTimeout: it was not all there in time; the job goes on.
            JobError: the job ended without (all) results.
        """
        check_type("stream: keep", keep, bool, "True or False")
        return self.reading.contents(deadline_of("stream: timeout", timeout), keep=keep)

    def tasks(self, timeout: float | None = None, *, keep: bool = True) -> Iterator[Task]:
        """Like :meth:`stream`, but tasks with meta and logs, failed ones in their places.

        ``task.logs`` has an entry with its times for each stage, if the job was submitted with ``logs=True``,
        or its pipeline has that in the network file.
        """
        check_type("tasks: keep", keep, bool, "True or False")
        return self.reading.tasks(deadline_of("tasks: timeout", timeout), keep=keep)

    def result(self, timeout: float | None = None) -> Result:
        """All contents in order, once the job is complete; the same object each time.

        Failed tasks are in its ``failed_tasks``, each with ``error`` and, as ``content``, its input.

        Args:
            timeout: seconds to wait; None for no limit.

        Raises:
            ResultTimeout: it was not complete in time; the job goes on.
            JobError: the job ended without a result; JobCancelled if it was cancelled.
        """
        timeout = check_timeout("result: timeout", timeout)
        deadline = deadline_of("result: timeout", timeout)
        if self.reading.result is None:
            self._connection.check_process()
        self.reading.begin_turn(timeout, "the result was not there in time")
        try:
            return self._collect(deadline)
        except JobError as error:
            self.outcome.reading_ended(error)
            raise
        except KeyboardInterrupt:
            self._goes_on()
            raise
        finally:
            self.reading.end_turn()

    def _collect(self, deadline: float | None) -> Result:
        """Read all results, unless they are here; raises what ended the job without a result."""
        result = self.reading.result
        if result is None:
            if (error := self.outcome.error) is not None:
                raise error
            result = Result()
            for task in self.reading.all_tasks(deadline):
                result.collect(task)
            self.outcome.collected(result)
        return result

    def _goes_on(self) -> None:
        """Ctrl-C has ended the wait for the job, and not the job: say so."""
        text = "job %r goes on: its handle's cancel() ends it, or 'zturbo cancel %s'"
        log.warning(text, self.name, short(self.id))

    def retry_failed(self, timeout: float | None = None, **options: Any) -> JobHandle:
        """Run just the tasks that failed, as a new job on the same pipeline.

        Each enters at the stage where it failed, with the input it had there. Their order is that of the
        failed tasks; what did not fail is not run again.

        Args:
            timeout: seconds to wait for the job's end, if it is not there yet.
            options: as of ``Client.submit``; default this job's.

        Returns:
            The new job's handle.

        Raises:
            UsageError: no task failed, or an input was too large to be kept: its meta says so.
            ResultTimeout: the job was not complete in time.
            JobError: the job ended without a result: submit it anew.
        """
        deadline = deadline_of("retry_failed: timeout", timeout)
        self._connection.check_process()
        result = self.reading.result
        if result is not None:
            failed: list[Task] = result.failed_tasks
        else:
            self.reading.begin_turn(timeout, "the job was not complete in time")
            try:
                failed = [task for task in self.reading.all_tasks(deadline) if not task.success]
            finally:
                self.reading.end_turn()
        job, name, acceptance = retry(self._connection, self.status(), failed, options)
        return JobHandle(self._connection, job, name, acceptance, 0)

    @property
    def failed(self) -> FailedTasks[FailedTask]:
        """The job's failed tasks, in order, once the job is complete: waits for its end.

        Each has ``error``, ``stage``, ``host``, ``path``, ``traceback`` and, as ``content``, its input;
        ``replay()`` runs it again in this process.

        Raises:
            JobError: the job ended without a result.
        """
        return FailedTasks(cast("list[FailedTask]", self.result().failed_tasks))

    # -- how it ended -------------------------------------------------------------------------
    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What ended the job without a result; None if it is done. Waits for its end.

        Failed tasks are no exception, unless the job has ``fail_fast``: they are in the result.

        Args:
            timeout: seconds to wait; None for no limit.

        Raises:
            ResultTimeout: it had not ended in time.
            JobCancelled: it was cancelled.
        """
        timeout = check_timeout("exception: timeout", timeout)
        self.outcome.watch()
        try:
            return super().exception(timeout)
        except futures.CancelledError:
            raise JobCancelled("cancelled by a client") from None
        except futures.TimeoutError:
            try:
                told = self.outcome.ask().result()
            except ZturboError:
                told = None
            raise self.outcome.late(told) from None
        except KeyboardInterrupt:
            self._goes_on()
            raise

    def add_done_callback(self, fn: Callable[[futures.Future[Result]], object]) -> None:
        """Call this with the handle once the job has ended and its result is here.

        At once, if both are so; else in a thread of the client's. What it raises is logged. The result is
        collected for it, unless it is streamed: then :meth:`result` reads it when it is asked.
        """
        if not callable(fn):
            raise wrong("add_done_callback: fn", fn, "a function that takes the handle")
        self.outcome.when_collected(fn)

    def status(self) -> dict[str, Any]:
        """State, epoch, what it waits for, counts per stage: as ``zturbo jobs`` shows it.

        ``counts`` has a dict for each stage: ``stage``, ``queued``, ``running``, ``done`` (outputs, failures
        and drops) and ``failed``, as far as the broker has been told: about twice a second. Once this handle
        has all results the state is ``done``, though the sink's word of it may still be on its way.
        """
        self._connection.check_process()
        self._connection.outbox.wait_for_answers()
        if held := self.reading.acceptance.held:
            return self.outcome.not_taken(self.name, held)
        return self.outcome.status(self._ask(self._connection.io.complete.question(self._raw_id)))

    def done(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.outcome.heard() or self.outcome.state(self.status()) not in LIVE

    def running(self) -> bool:
        """Whether it has its workers, and has not ended."""
        return not self.outcome.heard() and self.outcome.state(self.status()) == "running"

    def cancelled(self) -> bool:
        """Whether a client cancelled it."""
        if self.outcome.heard():
            return self.outcome.cancelled
        return self.outcome.state(self.status()) == "cancelled"

    def cancel(self) -> bool:
        """End the job now, running or not. Returns whether it is cancelled: False if it had ended before."""
        if self.outcome.heard():
            return self.outcome.cancelled
        return self.outcome.after_cancel(self._ask(to_broker.Cancel(job=self._raw_id)))

    def release(self) -> None:
        """Let the job and its results go: nobody can attach to it any more."""
        self._ask(to_broker.Release(job=self._raw_id))
