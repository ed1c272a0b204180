"""Jobs on their way to the broker, many in one message.

``submit`` puts a job into the outbox and returns. The I/O thread sends as many jobs in one message as fit
into it. At most :data:`UNDER_WAY` messages wait for the broker's answer; meanwhile new jobs gather in the
outbox. So a slow broker gets larger messages, not more of them. The I/O thread repeats each message until the
broker answers it, as it does with all questions to the broker.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from zturbo.client.acceptance import Acceptance
from zturbo.client.io import CLOSED, ClientIO
from zturbo.errors import BrokerUnavailable, ZturboError, by_name
from zturbo.wire.control import answers, to_broker
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.messages import Buffer

__all__ = ["Outbox"]

log = logging.getLogger("zturbo.client")

JOBS = 256
"""Jobs in one message at most."""

BYTES = 1 << 20
"""About how many bytes a message has at most; a job with more bytes has a message of its own."""

UNDER_WAY = 4
"""Messages without an answer at most."""

MOST_JOBS, MOST_BYTES = 16_384, 64 << 20
"""Jobs, and bytes of them, without an answer of the broker. Beyond either, ``submit`` waits."""

MOST_FAILED = 1000
"""Jobs without acceptance that are remembered at most, for :meth:`Outbox.flush` to tell of."""

HEAD = 300
"""About how many bytes of a message a job takes beside its name, meta and contents."""


class _Waiting(NamedTuple):
    job: NewJob
    frames: Sequence[Buffer]
    nbytes: int
    acceptance: Acceptance


class Outbox:
    """The jobs of one client that the broker has not answered for.

    Args:
        io: the client's I/O thread.
        timeout: seconds that the broker has to answer a message.
    """

    def __init__(self, io: ClientIO, timeout: float) -> None:
        self._io = io
        self._timeout = timeout
        self._changed = threading.Condition(threading.RLock())
        """Guards the fields below. Reentrant: a dropped client's finalizer may run while it is held."""
        self._waiting: deque[_Waiting] = deque()
        self._put = self._gone = 0
        """Jobs that were ever put here, and how many of them wait for no answer any more."""
        self._nbytes = 0
        """Bytes of the jobs that wait for an answer."""
        self._under_way = 0
        self._due = False
        """Whether the I/O thread is sending, or has been asked to."""
        self._failed: deque[tuple[str, Acceptance, BaseException]] = deque(maxlen=MOST_FAILED)
        """(name, acceptance, error) of jobs that the broker refused or did not answer for, since the last
        :meth:`flush`. The program may have seen an error at the job's handle."""
        self._then: Callable[[], None] | None = None

    # -- from any thread ----------------------------------------------------------------------
    @property
    def waiting(self) -> bool:
        """Whether there are jobs that the broker has not answered for."""
        return self._gone < self._put

    def has_room(self) -> bool:
        """Whether :meth:`put` would not wait."""
        return self._put - self._gone < MOST_JOBS and self._nbytes < MOST_BYTES

    def wait_for_room(self) -> None:
        """Wait until the broker has answered for some jobs, if there are very many."""
        with self._changed:
            self._changed.wait_for(self.has_room)

    def put(self, job: NewJob, frames: Sequence[Buffer]) -> Acceptance:
        """Send a job, once there is room for it; raises BrokerUnavailable if the client was closed."""
        self._io.check_process()
        if self._io.closed:
            raise BrokerUnavailable(CLOSED)
        nbytes = HEAD + len(job.name) + len(job.meta or b"")
        nbytes += sum(memoryview(frame).nbytes for frame in frames)
        acceptance = Acceptance()
        with self._changed:
            self._changed.wait_for(self.has_room)
            self._waiting.append(_Waiting(job, frames, nbytes, acceptance))
            self._put += 1
            self._nbytes += nbytes
            due, self._due = self._due, True
        if not due and not self._io.post(self._send):
            self._give_up(BrokerUnavailable(CLOSED))
        return acceptance

    def wait_for_answers(self) -> None:
        """Wait until the broker has answered for as many jobs as have been put here.

        So a question that comes after a submit, in one thread, finds the job.
        """
        with self._changed:
            until = self._put
            self._changed.wait_for(lambda: self._gone >= until)

    def flush(self, timeout: float | None) -> bool:
        """Wait until the broker has answered for all jobs. Returns False if it has not in time.

        Errors that the program has seen at a job's handle are not told again. Refusals are logged.

        Raises:
            BrokerUnavailable: the broker did not answer for some jobs, which may not have arrived.
        """
        self._io.check_process()
        with self._changed:
            done = self._changed.wait_for(lambda: not self.waiting, timeout)
            failed, self._failed = self._failed, deque(maxlen=MOST_FAILED)
        lost: BrokerUnavailable | None = None
        for name, acceptance, error in failed:
            if acceptance.told:
                continue
            if isinstance(error, BrokerUnavailable):
                lost = lost or error
            else:
                log.warning("job %r was not taken: %s", name, error)
        if lost is not None:
            raise lost
        return done

    def when_empty(self, then: Callable[[], None]) -> None:
        """Call this when no job waits for an answer: at once if none does, else in the I/O thread."""
        with self._changed:
            if self.waiting:
                self._then = then
                return
        then()

    # -- the I/O thread -----------------------------------------------------------------------
    def _send(self, now: float) -> None:
        while True:
            with self._changed:
                if not self._waiting or self._under_way >= UNDER_WAY:
                    self._due = False
                    return
                part = [self._waiting.popleft()]
                nbytes = part[0].nbytes
                while self._waiting and len(part) < JOBS:
                    nbytes += self._waiting[0].nbytes
                    if nbytes > BYTES:
                        break
                    part.append(self._waiting.popleft())
                self._under_way += 1
            message = to_broker.Submit(
                client=self._io.identity,
                jobs=tuple(one.job for one in part),
                contents=[frame for one in part for frame in one.frames],
            )
            try:
                future = self._io.ask(message, timeout=self._timeout)
            except Exception as error:  # it is larger than a message may be
                future = Future()
                future.set_exception(error)
            future.add_done_callback(lambda done, part=part: self._answered(part, done))  # type: ignore[misc]

    def _answered(self, part: list[_Waiting], future: Future[answers.Submitted]) -> None:
        error = future.exception()
        outcomes = [] if error is not None else future.result()
        for i, one in enumerate(part):
            if i >= len(outcomes):
                self._refuse(one, error or ZturboError("the broker has answered for fewer jobs"))
            elif (at := outcomes[i].at) is not None:
                if not one.job.stream:
                    self._io.results.expect(one.job.job, at)
                one.acceptance.accept(at)
            else:
                kind = by_name(outcomes[i].kind or "", ZturboError)
                self._refuse(one, kind(outcomes[i].error or "refused"))
        with self._changed:
            self._under_way -= 1
            self._let_go(part)
            due, self._due = self._due, True
        if not due:
            self._send(0.0)

    def _refuse(self, one: _Waiting, error: BaseException) -> None:
        with self._changed:
            self._failed.append((one.job.name, one.acceptance, error))
        one.acceptance.refuse(error)

    def _let_go(self, part: list[_Waiting]) -> None:
        """Stop waiting for an answer for these jobs."""
        self._gone += len(part)
        self._nbytes -= sum(one.nbytes for one in part)
        self._changed.notify_all()
        if not self.waiting and self._then is not None:
            then, self._then = self._then, None
            then()

    def _give_up(self, error: BrokerUnavailable) -> None:
        """The I/O thread has ended: refuse the jobs that were not sent."""
        with self._changed:
            part, self._waiting = list(self._waiting), deque()
        for one in part:
            self._refuse(one, error)
        with self._changed:
            self._let_go(part)
