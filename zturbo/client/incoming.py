"""Results of one job that have come, in the I/O thread, and that the reader has not taken yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from zturbo.client.acceptance import Acceptance
from zturbo.client.io import ClientIO
from zturbo.client.subscription import Subscription
from zturbo.client.waits import told_of
from zturbo.core.result_stream import ResultStream
from zturbo.errors import ResultTimeout
from zturbo.wire.control import answers
from zturbo.wire.messages import Results

__all__ = ["ASK", "Incoming"]

ASK = 0.5
"""Seconds that the broker has to tell about a job whose reader's time is over."""


class Incoming:
    """What a reader waits for: results, and then the end of the job, or an error in its place.

    All of it goes through one queue. So a reader that sees the end has taken all that came before it.

    Args:
        io: the client's I/O thread.
        job: id of the job.
        first: index of the first result wanted; -1 to go on at the sink's cursor.
        accepted: the broker's answer to the job.
        wake: called, in the I/O thread, when something has come.
        tell: tell the sink at the end how far the caller has come: another reader goes on there.
        once: let the sink free what the caller has taken: nobody reads it again.
    """

    def __init__(
        self,
        io: ClientIO,
        job: bytes,
        first: int,
        accepted: Acceptance,
        wake: Callable[[], None],
        *,
        tell: bool = False,
        once: bool = False,
    ) -> None:
        self._io = io
        self._wake = wake
        self._tell = tell
        self._once = once
        self._accepted = accepted
        self.arrived: deque[tuple[Results, int] | BaseException | None] = deque()
        """Results, and how many leading ones to skip; an error; None where all has come. It is for
        :meth:`take`; readers look whether there is anything."""
        self.stream = ResultStream(job, 0, first, once=once)
        self._sub: Subscription | None = None
        """What the I/O thread has of this reader; None if all results had come before it."""
        if first == 0 and self._take_pushed(job):
            accepted.take_turn()
        else:
            self._sub = Subscription(self.stream, self._deliver, self.fail)
            io.subscribe(self._sub, accepted)

    def _take_pushed(self, job: bytes) -> bool:
        """Take results that have come unasked. Returns whether these are all."""
        pushed = self._io.results.pushed.give_all(job)
        if pushed is None:
            return False
        token, arrived = pushed
        self.stream.turn(token)
        for results, nbytes in arrived:
            skip = self.stream.results(results, nbytes, 0.0)
            if skip is not None:
                self.arrived.append((results, skip))
        if not self.stream.complete:
            self.arrived.clear()
            self.stream = ResultStream(job, 0, 0, once=self._once)
            return False
        self.arrived.append(None)
        return True

    def _deliver(self, results: Results, skip: int) -> None:
        self.arrived.append((results, skip))
        if self.stream.complete:
            self.arrived.append(None)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """No more results will come: the reader gets this error, after those that have come."""
        self.arrived.append(error)
        self._wake()

    def check_process(self) -> None:
        """Raise UsageError in a forked child: it has a copy of all this, in which nothing arrives."""
        self._io.check_process()

    def ask_on(self) -> None:
        """Let the I/O thread ask for more results, if no message would make it. Readers call this before they
        wait or take: what they have taken since makes room."""
        if self.stream.drained:
            self._io.post(_look)

    def take(self) -> tuple[Results, int] | None:
        """What has come next: results, and how many leading ones to skip; None if all has been taken.

        Raises:
            JobError: the job ended without (all) results.
        """
        part = self.arrived.popleft()
        if isinstance(part, BaseException):
            raise part
        if part is None:
            self.stream.taken = self.stream.next
            self._io.complete.add(self.stream.job)
        return part

    def ask(self) -> Future[answers.Description]:
        """Ask the broker about the job, for the error of a reader whose time is over."""
        return self._io.ask(self._io.complete.question(self.stream.job), timeout=ASK)

    def late(self, told: answers.Description | None = None) -> ResultTimeout:
        """The error of a reader whose time is over.

        Args:
            told: what the broker says of the job; None if it has not answered.
        """
        text = f"not all results were there in time; {self.stream.taken} were"
        held = self._accepted.held
        known = told_of(told, self.stream.job, held)
        if not held and self._sub is not None and self._sub.unreached:
            known = f"the client does not reach {self._sub.unreached}"
        return ResultTimeout(f"{text}; {known}" if known else text)

    def close(self) -> None:
        """Stop reading. What waited for it is let go."""
        sub, self._sub, self._wake = self._sub, None, _nobody
        if sub is not None:
            self._io.unsubscribe(sub, tell=self._tell)
        self._tell = False


def _nobody() -> None:
    """Nothing waits any more."""


def _look(now: float) -> None:
    """The I/O thread looks for questions that are due, after any call."""
