"""What a client has of a job that it submitted or attached to: a future with a stream of results."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent import futures
from functools import partial
from typing import Any

from zturbo.api.result import Result
from zturbo.api.task import Task
from zturbo.checks import check_timeout, wrong
from zturbo.client.connection import Connection
from zturbo.client.io import SUPERSEDED
from zturbo.client.job_ids import short, with_text_ids
from zturbo.client.reader import Failure, Reader
from zturbo.client.retry import retry
from zturbo.client.watch import ending
from zturbo.core.states import State, Table
from zturbo.errors import JobCancelled, JobError, ResultTimeout, UsageError, ZturboError
from zturbo.jobstates import LIVE
from zturbo.wire.control import answers, to_broker

__all__ = ["HANDLE", "HandleState", "JobHandle", "deadline_of"]

log = logging.getLogger("zturbo.client")

FRESH = 0.25
"""Seconds for which the answer to a submit tells where results are: who reads them takes turns, and a
later reader's turn, perhaps another client's, is above an earlier one's."""


class HandleState(State):
    """What a handle knows of its job's end."""

    OPEN = "open"
    WATCHED = "watched"
    COLLECTING = "collecting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_H = HandleState

HANDLE: Table[HandleState] = Table(
    "Handle of a job, at a client",
    {
        _H.OPEN: "nothing is known of the job's end, and nobody waits for it here",
        _H.WATCHED: "the broker is asked to tell the job's end",
        _H.COLLECTING: "the job is done; its result is read for those who are to be called with it",
        _H.DONE: "the job is done; its result is here, or is read when it is asked for",
        _H.FAILED: "the job ended without a result; the error says why",
        _H.CANCELLED: "a client ended the job",
    },
    [
        (_H.OPEN, _H.WATCHED, "somebody waits for the end, or is to be called at it"),
        (_H.WATCHED, _H.COLLECTING, "the broker says that the job is done, and its result is wanted"),
        (_H.OPEN, _H.DONE, "its result was read, or its status was asked for"),
        (_H.WATCHED, _H.DONE, "its result was read, or the broker says so"),
        (_H.COLLECTING, _H.DONE, "the result is here, or another reader took over"),
        (_H.OPEN, _H.FAILED, "reading ended so, or its status was asked for"),
        (_H.WATCHED, _H.FAILED, "the broker says so, reading ended so, or the client is closed"),
        (_H.COLLECTING, _H.FAILED, "its result cannot be read"),
        (_H.OPEN, _H.CANCELLED, "it was cancelled here, or its status was asked for"),
        (_H.WATCHED, _H.CANCELLED, "it was cancelled here, or the broker says so"),
        (_H.COLLECTING, _H.CANCELLED, "reading its result ended so"),
    ],
)

_NOT_ENDED = frozenset({_H.OPEN, _H.WATCHED, _H.COLLECTING})


def deadline_of(field: str, timeout: float | None) -> float | None:
    """When a time-out that begins now is over; raises UsageError if it is none."""
    check_timeout(field, timeout)
    return None if timeout is None else time.monotonic() + timeout


class _Waiters(list[Any]):
    """Those who wait in :mod:`concurrent.futures`: from the first on, the job's end is watched for."""

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
    """

    def __init__(
        self, connection: Connection, job_id: bytes, name: str, at: answers.Whereabouts | None, first: int
    ) -> None:
        super().__init__()
        self._connection = connection
        self.id = job_id.hex()
        self._raw_id = job_id
        self.name = name
        self._at = at
        self._at_until = time.monotonic() + FRESH
        self._first = first
        self.failed_tasks: list[Task] = []
        self._collected: Result | None = None
        self._collecting = threading.Lock()
        self._known = HandleState.OPEN
        self._moving = threading.Lock()
        """Held for a move of that state alone: the future's own lock may be held by this thread."""
        self._wanted = False
        """Whether somebody is to be called who expects the result to be here."""
        self._streamed = False
        """Whether its results are read one by one, and so are not collected unasked."""
        self._waiters: list[Any] = _Waiters(self._watch)

    def __repr__(self) -> str:
        return f"<JobHandle {self.name!r} {self.id}>"

    def __enter__(self) -> JobHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.release()
        except ZturboError as error:
            log.debug("not released: %s", error)

    # -- results ------------------------------------------------------------------------------
    def _whereabouts(self) -> answers.Whereabouts | None:
        """Where its results are, if the broker has just said so. Else a reader asks, and gets its turn so."""
        at, self._at = self._at, None
        return at if time.monotonic() < self._at_until else None

    def _reader(self, first: int, *, tell: bool = False) -> Reader:
        return Reader(self._connection.io, self._raw_id, first, self._whereabouts(), tell=tell)

    def stream(self, timeout: float | None = None) -> Iterator[Any]:
        """Contents in order, as soon as the order allows. Failed tasks go to ``failed_tasks``.

        Args:
            timeout: seconds for all of it; None for no limit.

        Raises:
            ResultTimeout: it was not all there in time; the job goes on.
            JobError: the job ended without (all) results.
        """
        return self._contents(deadline_of("stream: timeout", timeout))

    def _contents(self, deadline: float | None) -> Iterator[Any]:
        self._streamed = True
        for content in self._reader(self._first, tell=True).contents(deadline):
            if type(content) is Failure:
                self.failed_tasks.append(content.task)
            else:
                yield content

    def tasks(self, timeout: float | None = None) -> Iterator[Task]:
        """Like :meth:`stream`, but tasks with meta and logs, failed ones in their places."""
        return self._tasks(deadline_of("tasks: timeout", timeout))

    def _tasks(self, deadline: float | None) -> Iterator[Task]:
        self._streamed = True
        yield from self._reader(self._first, tell=True).tasks(deadline)

    def result(self, timeout: float | None = None) -> Result:
        """All contents in order, once the job is complete; the same object each time.

        Failed tasks are in its ``failed_tasks``, each with ``error`` and, as ``content``, its input.

        Args:
            timeout: seconds to wait; None for no limit.

        Raises:
            ResultTimeout: it was not complete in time; the job goes on.
            JobError: the job ended without a result; JobCancelled if it was cancelled.
        """
        deadline = deadline_of("result: timeout", timeout)
        if self._collected is None:
            self._connection.check_process()
        if not self._collecting.acquire(timeout=-1 if timeout is None else timeout):
            raise ResultTimeout("the result was not there in time")
        try:
            if self._collected is None:
                if self._settled:
                    self._raise_outcome()
                result = Result()
                for task in self._reader(0).tasks(deadline):
                    result.collect(task)
                self._take(result)
            assert self._collected is not None
            return self._collected
        except JobError as error:
            self._note(error)
            raise
        except KeyboardInterrupt:
            self._goes_on()
            raise
        finally:
            self._collecting.release()

    def _goes_on(self) -> None:
        """Ctrl-C has ended the wait for the job, and not the job: say so."""
        text = "job %r goes on: its handle's cancel() ends it, or 'zturbo cancel %s'"
        log.warning(text, self.name, short(self.id))

    def _take(self, result: Result) -> None:
        """All of it is here."""
        self._collected = result
        self._settle(None)

    def _note(self, error: BaseException) -> None:
        """Reading ended like this: so has the job, unless only another reads it now."""
        if str(error) != SUPERSEDED:
            self._settle(error)

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
        if self._collected is not None:
            failed = self._collected.failed_tasks
        else:
            if not self._collecting.acquire(timeout=-1 if timeout is None else timeout):
                raise ResultTimeout("the job was not complete in time")
            try:
                failed = [task for task in self._reader(0).tasks(deadline) if not task.success]
            finally:
                self._collecting.release()
        job, name, at = retry(self._connection, self.status(), failed, options)
        return JobHandle(self._connection, job, name, at, 0)

    # -- how it ended -------------------------------------------------------------------------
    @property
    def _settled(self) -> bool:
        return super().done()

    def _raise_outcome(self) -> None:
        """Raise what ended it without a result."""
        if super().cancelled():
            raise JobCancelled("cancelled by a client")
        error = super().exception(0)
        if error is not None:
            raise error

    def _watch(self) -> None:
        """Have the job's end told."""
        if self._settled:
            return
        self._connection.check_process()
        if self._move(HandleState.WATCHED, after=(HandleState.OPEN,)):
            self._connection.watch.add(self._raw_id, self._ended)

    def _ended(self, error: BaseException | None) -> None:
        """The broker says that it has ended."""
        if error is not None or not self._wanted or self._streamed:
            self._settle(error)
        elif self._move(HandleState.COLLECTING, after=(HandleState.WATCHED,)):
            self._connection.callbacks.put(self._collect)

    def _collect(self) -> None:
        """Read the result, for those who are to be called with it."""
        try:
            self.result()
        except Exception as error:  # whatever it is, those who wait are to hear of it
            self._settle(None if self._streamed and str(error) == SUPERSEDED else error)

    def _move(self, state: HandleState, after: Collection[HandleState]) -> bool:
        """Move to this state from one of those. Returns False if another thread was faster.

        That lets each step be taken once: several threads may learn of the end at the same time.
        """
        with self._moving:
            if self._known not in after:
                return False
            self._known = HANDLE.move(self._known, state)
            return True

    def _settle(self, error: BaseException | None) -> None:
        """It has ended like this: tell those who wait."""
        cancelled = isinstance(error, JobCancelled)
        end = _H.CANCELLED if cancelled else _H.DONE if error is None else _H.FAILED
        if not self._move(end, after=_NOT_ENDED):
            return
        if cancelled:
            super().cancel()
            super().set_running_or_notify_cancel()
        elif error is not None:
            super().set_exception(error)
        else:
            super().set_result(self._collected or Result())

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What ended the job without a result; None if it is done. Waits for its end.

        Failed tasks are no exception, unless the job has ``fail_fast``: they are in the result.

        Args:
            timeout: seconds to wait; None for no limit.

        Raises:
            ResultTimeout: it had not ended in time.
            JobCancelled: it was cancelled.
        """
        check_timeout("exception: timeout", timeout)
        self._watch()
        try:
            return super().exception(timeout)
        except futures.CancelledError:
            raise JobCancelled("cancelled by a client") from None
        except futures.TimeoutError:
            raise ResultTimeout("the job had not ended in time") from None
        except KeyboardInterrupt:
            self._goes_on()
            raise

    @property
    def _failed(self) -> bool:
        return self._settled and not super().cancelled() and super().exception(0) is not None

    def _when_settled(self, fn: Callable[[futures.Future[Result]], object]) -> None:
        """Call this once it is known that the job has ended, its result here or not, in any thread."""
        super().add_done_callback(fn)
        self._watch()

    def add_done_callback(self, fn: Callable[[futures.Future[Result]], object]) -> None:
        """Call this with the handle once the job has ended and its result is here.

        At once, if both are so; else in a thread of the client's. What it raises is logged. The result is
        collected for it, unless it is streamed: then :meth:`result` reads it when it is asked.
        """
        if not callable(fn):
            raise wrong("add_done_callback: fn", fn, "a function that takes the handle")
        callbacks = self._connection.callbacks
        self._connection.check_process()
        if not self._settled:
            self._wanted = True
            super().add_done_callback(lambda handle: callbacks.put(partial(fn, handle)))
            self._watch()
        elif self._collected is None and not self._streamed and not super().cancelled() and not self._failed:
            callbacks.put(self._collect)
            callbacks.put(partial(fn, self))
        else:
            super().add_done_callback(fn)

    def status(self) -> dict[str, Any]:
        """State, epoch, what it waits for, counts per stage: as ``zturbo jobs`` shows it.

        ``counts`` has a dict for each stage: ``stage``, ``queued``, ``running``, ``done`` (outputs, failures
        and drops) and ``failed``, as far as the broker has been told: about twice a second. Once this handle
        has all results the state is ``done``, though the sink's word of it may still be on its way.
        """
        described = self._connection.ask(self._connection.io.complete.question(self._raw_id))
        return self._told(with_text_ids(described)["jobs"])

    def _told(self, jobs: list[dict[str, Any]]) -> dict[str, Any]:
        """This job's status, of the broker's answer."""
        if not jobs:
            raise UsageError(f"the broker does not know job {self.id} (any more)")
        status = jobs[0]
        if self._collected is not None and status["state"] in LIVE:
            status.update(state="done", waiting=None)
        return status

    def _look(self, status: dict[str, Any]) -> str:
        """The job's state, as the broker says."""
        state: str = status["state"]
        if state not in LIVE:
            self._ended(ending(state, status["error_kind"], status["error"]))
        return state

    def done(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self._settled or self._look(self.status()) not in LIVE

    def running(self) -> bool:
        """Whether it has its workers, and has not ended."""
        return not self._settled and self._look(self.status()) == "running"

    def cancelled(self) -> bool:
        """Whether somebody cancelled it."""
        return super().cancelled() if self._settled else self._look(self.status()) == "cancelled"

    def cancel(self) -> bool:
        """End the job now, running or not. Returns whether it is cancelled: False if it had ended before."""
        if self._settled:
            return super().cancelled()
        return self._cancelled(self._connection.ask(to_broker.Cancel(job=self._raw_id)))

    def _cancelled(self, answer: answers.State) -> bool:
        if answer.state == "cancelled":
            self._settle(JobCancelled("cancelled by a client"))
        return answer.state == "cancelled"

    def release(self) -> None:
        """Let the job and its results go: nobody can attach to it any more."""
        self._connection.ask(to_broker.Release(job=self._raw_id))
