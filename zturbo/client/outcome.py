"""How a job ended, as far as its handle knows: the table of that, and who is told.

Several threads may learn of the end at the same time: readers of results, callers that ask for the status,
the I/O thread when the broker tells it. Moves of the table are taken one at a time, so each is taken once.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection
from concurrent.futures import Future
from functools import partial
from typing import Any

from zturbo.api.result import Result
from zturbo.client.incoming import ASK
from zturbo.client.job_ids import with_text_ids
from zturbo.client.reading import JobReading
from zturbo.client.subscriptions import SUPERSEDED
from zturbo.client.waits import told_of
from zturbo.client.watch import ending
from zturbo.core.states import State, Table
from zturbo.errors import JobCancelled, ResultTimeout, UsageError
from zturbo.jobstates import LIVE
from zturbo.wire.control import answers

__all__ = ["HANDLE", "HandleState", "JobOutcome"]


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
        _H.OPEN: "nothing is known of the job's end, and no caller waits for it here",
        _H.WATCHED: "the broker is asked to tell the job's end",
        _H.COLLECTING: "the job is done; its result is read for callbacks that wait for it",
        _H.DONE: "the job is done; its result is here, or is read when it is asked for",
        _H.FAILED: "the job ended without a result; the error says why",
        _H.CANCELLED: "a client ended the job",
    },
    [
        (_H.OPEN, _H.WATCHED, "a caller or a callback waits for the end"),
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


class JobOutcome:
    """The outcome of one job; a future gets it.

    A handle overrides methods of its future so that they ask the broker. Here they are called as
    :class:`concurrent.futures.Future` has them.

    A handle has its outcome. An outcome has its handle only while a caller waits for the job's end: so a
    handle that its program lets go is gone at once, and not with Python's next look for cycles.

    Args:
        future: the handle.
        reading: of the job's results.
        collect: reads the job's result, given the handle, and tells the outcome.
    """

    def __init__(self, future: Future[Result], reading: JobReading, collect: Callable[[Any], object]) -> None:
        self._weak = weakref.ref(future)
        self._awaited: Future[Result] | None = None
        """The handle, while the broker is asked to tell the job's end."""
        self._reading = reading
        self._collect = collect
        self._connection = reading.connection
        self._known = _H.OPEN
        self._moving = threading.Lock()
        """Held for a move alone: the future's own lock may be held by this thread."""
        self._wanted = False
        """Whether a callback waits that expects the result to be here."""

    @property
    def _future(self) -> Future[Result]:
        """The handle. It is there: it calls this, or is awaited."""
        future = self._weak()
        assert future is not None
        return future

    # -- what is known ------------------------------------------------------------------------
    @property
    def settled(self) -> bool:
        """Whether it is known how the job ended."""
        return Future.done(self._future)

    def heard(self) -> bool:
        """Whether it is known here how the job ended.

        A job that travels with others may have ended before them. Then its results are here, and the broker,
        which counts all of them together, does not know.
        """
        if not self.settled and self._has_arrived():
            self.ended(None)
        return self.settled

    def _has_arrived(self) -> bool:
        """Whether it travels with others, and its results are here."""
        return bool(self._connection.io.results.has_ended(self._reading.job))

    @property
    def cancelled(self) -> bool:
        """Whether it is known that a client ended it."""
        return Future.cancelled(self._future)

    @property
    def error(self) -> BaseException | None:
        """What ended it without a result, if that is known."""
        if self._known in _NOT_ENDED or not self.settled:
            return None
        return JobCancelled("cancelled by a client") if self.cancelled else Future.exception(self._future, 0)

    @property
    def failed(self) -> bool:
        """Whether it is known that it ended by an error, and not by a client."""
        return self.settled and not self.cancelled and self.error is not None

    # -- what is heard ------------------------------------------------------------------------
    def watch(self) -> None:
        """Have the broker tell the job's end."""
        if self.settled:
            return
        self._connection.check_process()
        if self._move(_H.WATCHED, after=(_H.OPEN,)):
            self._awaited = self._future
            self._reading.acceptance.add_done_callback(self._watch_accepted)

    def _watch_accepted(self, acceptance: Future[answers.Whereabouts]) -> None:
        """The broker has the job, or will not have it."""
        error = acceptance.exception()
        if error is None:
            self._connection.watch.add(self._reading.job, self.ended)
        else:
            self.ended(error)

    def ended(self, error: BaseException | None) -> None:
        """The broker says that it has ended."""
        if error is not None or not self._wanted or self._reading.streamed:
            self._settle(error)
        elif self._move(_H.COLLECTING, after=(_H.WATCHED,)):
            self._connection.callbacks.put(self._collect_wanted)

    def _collect_wanted(self) -> None:
        """Read the result, for callbacks that wait for it."""
        try:
            self._collect(self._future)
        except Exception as error:  # whatever it is, those that wait are to hear of it
            self._settle(None if self._reading.streamed and str(error) == SUPERSEDED else error)

    def collected(self, result: Result) -> None:
        """All results are here."""
        self._reading.result = result
        self._settle(None)

    def reading_ended(self, error: BaseException) -> None:
        """Reading ended with this error: so has the job, unless only another reader took over."""
        if str(error) != SUPERSEDED:
            self._settle(error)

    def ask(self) -> Future[answers.Description]:
        """Ask the broker about the job, for the error of a caller whose time is over."""
        io = self._connection.io
        return io.ask(io.complete.question(self._reading.job), timeout=ASK)

    def late(self, told: answers.Description | None) -> ResultTimeout:
        """The error of a caller whose time is over, with what the broker has told of the job."""
        known = told_of(told, self._reading.job, self._reading.acceptance.held)
        return ResultTimeout("the job had not ended in time" + (f"; {known}" if known else ""))

    def after_cancel(self, answer: answers.State) -> bool:
        """The broker was asked to cancel the job. Returns whether it is cancelled."""
        if answer.state == "cancelled":
            self._settle(JobCancelled("cancelled by a client"))
        return answer.state == "cancelled"

    def not_taken(self, name: str, why: str) -> dict[str, Any]:
        """The status of a job that the broker has no room for yet, for this reason."""
        status = answers.Status(
            id=self._reading.job,
            number=0,
            name=name,
            pipeline="",
            state="waiting",
            waiting=f"room at the broker: {why}",
            incidents=(),
            epoch=0,
            total=None,
            fed=0,
            stages=(),
            done=(),
            counts=(),
            results=0,
            failed=0,
            error=None,
            error_kind=None,
            options={},
            created=0.0,
            ended=0.0,
        ).as_map()
        return {**status, "id": self._reading.job.hex(), "carrier": ""}

    def status(self, told: answers.Description) -> dict[str, Any]:
        """The job's status, of what the broker told.

        The sink's word that it is done may still be on its way to the broker, when its results are here.
        """
        jobs: list[dict[str, Any]] = with_text_ids(told)["jobs"]
        if not jobs:
            raise UsageError(f"the broker does not know job {self._reading.job.hex()} (any more)")
        status = jobs[0]
        if status["state"] in LIVE and (self._reading.result is not None or self._has_arrived()):
            status.update(state="done", waiting=None)
        return status

    def state(self, status: dict[str, Any]) -> str:
        """The job's state by its status; an end is noted."""
        state: str = status["state"]
        if state not in LIVE:
            self.ended(ending(state, status["error_kind"], status["error"]))
        return state

    # -- who is told --------------------------------------------------------------------------
    def when_settled(self, call: Callable[[Future[Result]], object]) -> None:
        """Call this, in any thread, once it is known how the job ended; its result need not be here."""
        Future.add_done_callback(self._future, call)
        self.watch()

    def when_collected(self, call: Callable[[Future[Result]], object]) -> None:
        """Call this once the job has ended and its result is here, unless it is streamed."""
        callbacks = self._connection.callbacks
        self._connection.check_process()
        if not self.settled:
            self._wanted = True
            Future.add_done_callback(self._future, lambda handle: callbacks.put(partial(call, handle)))
            self.watch()
        elif self._reading.result is None and not self._reading.streamed and self.error is None:
            callbacks.put(self._collect_wanted)
            callbacks.put(partial(call, self._future))
        else:
            Future.add_done_callback(self._future, call)

    # -- moves --------------------------------------------------------------------------------
    def _move(self, state: HandleState, after: Collection[HandleState]) -> bool:
        """Move to this state from one of those. Returns False if another thread was faster."""
        with self._moving:
            if self._known not in after:
                return False
            self._known = HANDLE.move(self._known, state)
            return True

    def _settle(self, error: BaseException | None) -> None:
        """It has ended like this: the future tells all that wait."""
        cancelled = isinstance(error, JobCancelled)
        end = _H.CANCELLED if cancelled else _H.DONE if error is None else _H.FAILED
        if not self._move(end, after=_NOT_ENDED):
            return
        future, self._awaited = self._future, None
        if cancelled:
            Future.cancel(future)
            future.set_running_or_notify_cancel()
        elif error is not None:
            future.set_exception(error)
        else:
            result = self._reading.result
            future.set_result(Result() if result is None else result)
