"""Jobs on their way to the broker, many in one message.

``submit`` puts a job into the outbox and returns. The I/O thread sends as many jobs in one message as fit
into it. At most :data:`UNDER_WAY` messages wait for the broker's answer; meanwhile new jobs gather in the
outbox. So a slow broker gets larger messages, not more of them. The I/O thread repeats each message until the
broker answers it, as it does with all questions to the broker.

A broker without room for a job says when to submit it again. Until then all jobs stay here, and then one
message at a time goes, with the same jobs as before, until one is taken. Messages that were under way by then
may be smaller, and be taken first.

Small jobs of one kind travel together (:mod:`zturbo.wire.carried`) where enough of them wait to be sent. A
few of them wait for more as long as another message waits for its answer (J. Nagle, RFC 896). They also wait
for a moment while many jobs of this client are under way: results that come one by one would else bring new
jobs one by one, each at the price of many.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from zturbo.client.acceptance import Acceptance
from zturbo.client.io import CLOSED, ClientIO
from zturbo.client.submissions import Kind, Small, Submission
from zturbo.errors import BrokerUnavailable, ZturboError, by_name
from zturbo.wire.carried import PLACE, carried_id, carrier_id, place_of
from zturbo.wire.control import answers, to_broker

__all__ = ["Outbox"]

log = logging.getLogger("zturbo.client")

JOBS = 256
"""Jobs in one message at most."""

BYTES = 1 << 20
"""About how many bytes a message has at most; a job with more bytes has a message of its own."""

TOGETHER = 16
"""Small jobs of one kind that make up a message: more are not waited for."""

MANY = 32
"""Unfinished jobs of this client from which on small jobs wait for :data:`MOMENT`."""

FEW = 4
"""Small jobs of one kind that travel together at least, if they have waited so, or others have."""

MOMENT = 0.005
"""Seconds for which small jobs wait for others, while many jobs are under way. Each of these takes longer."""

APART, MOST_APART = 0.25, 16.0
"""Seconds for which small jobs of a pipeline go one by one, once the broker had to take some apart: the first
time, and longest. Each time in a row it is twice as long."""

UNDER_WAY = 4
"""Messages without an answer at most."""

MOST_JOBS, MOST_BYTES = 16_384, 64 << 20
"""Jobs, and bytes of them, without an answer of the broker. Beyond either, ``submit`` waits."""

MOST_FAILED = 1000
"""Jobs without acceptance that are remembered at most, for :meth:`Outbox.flush` to tell of."""

PATIENCE, REMIND = 1.0, 30.0
"""Seconds for which the broker has had no room before that is told, and until it is told again."""

HEAD = 300
"""About how many bytes of a message a job takes beside its name, meta and contents."""

SMALL_HEAD = 64
"""The same for a small job, which may be one of many that travel together."""


class _Waiting(NamedTuple):
    """A job that waits to be sent, or for its answer."""

    job: bytes
    name: str
    submission: Submission | Small
    nbytes: int
    acceptance: Acceptance


class _Part(NamedTuple):
    """What is submitted as one job: a job, or several small ones that travel together."""

    submission: Submission
    jobs: Sequence[_Waiting]


class Outbox:
    """The jobs of one client that the broker has not answered for.

    Args:
        io: the client's I/O thread.
        timeout: seconds that the broker has to answer a message.
    """

    def __init__(self, io: ClientIO, timeout: float) -> None:
        self._io = io
        self._timeout = timeout
        self._lock = threading.RLock()
        """Guards the fields below. Reentrant: a dropped client's finalizer may run while it is held."""
        self._changed = threading.Condition(self._lock)
        """Notified when jobs wait for an answer no more, or are held."""
        self._waiting: deque[_Waiting] = deque()
        self._put = self._gone = 0
        """Jobs that were ever put here, and how many of them wait for no answer any more."""
        self._nbytes = 0
        """Bytes of the jobs that wait for an answer."""
        self._under_way = 0
        self._due = False
        """Whether the I/O thread is sending, or has been asked to."""
        self._gather_until = 0.0
        """Until when the small jobs that wait may wait for others; 0 if there were none yet."""
        self._failed: deque[tuple[str, Acceptance, BaseException]] = deque(maxlen=MOST_FAILED)
        """(name, acceptance, error) of jobs that the broker refused or did not answer for, since the last
        :meth:`flush`. The program may have seen an error at the job's handle."""
        self._then: Callable[[], None] | None = None
        self._held: deque[_Part] = deque()
        """What the broker had no room for. It goes again as it was: a repeated message may have been
        taken."""
        self._held_jobs = 0
        self._why = ""
        """Why the broker had no room for them."""
        self._back_at = self._held_since = 0.0
        """When to submit that again; since when none of it has been taken."""
        self._patient = True
        """Whether it waits until the broker has room."""
        self._tell_at = 0.0
        """When to tell again that the broker has no room; 0 if it has not been told."""
        self._carriers: dict[Kind, tuple[bytes, int]] = {}
        """Kind of small jobs -> id of the carrier of those that come next, if they travel together, and how
        many jobs have ids of it."""
        self._gathered = self._most = 0
        """How many jobs came since such carriers are as they are, and how many of the most frequent kind.
        They fit into one message."""
        self._small = 0
        """How many of the jobs that wait to be sent are small."""
        self._apart: dict[str, tuple[float, float]] = {}
        """Pipeline whose small jobs do not travel together, as the broker has shown -> when that is tried
        again, since its stages may have had no workers; and how long that was after the last time."""

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

    def put(self, submission: Submission) -> Acceptance:
        """Send a job, once there is room for it; raises BrokerUnavailable if the client was closed."""
        new = submission.new
        nbytes = HEAD + len(new.name) + len(new.meta or b"")
        nbytes += sum(memoryview(frame).nbytes for frame in submission.frames)
        self._open()
        with self._changed:
            self._changed.wait_for(self.has_room)
            self._carriers.clear()  # small jobs that come later do not go before this one
            acceptance = self._add(submission.job, new.name, submission, nbytes)
            due, self._due = self._due, True
        self._send_soon(due)
        return acceptance

    def put_small(self, job: Small) -> tuple[bytes, Acceptance]:
        """As :meth:`put`, for a small job. Returns its id too."""
        self._open()
        with self._lock:
            if not self.has_room():
                self._changed.wait_for(self.has_room)
            if self._gathered >= JOBS:
                self._next_carriers()
            carrier, carried = self._carriers.get(job.kind) or (_new_carrier(), 0)
            self._carriers[job.kind] = carrier, carried + 1
            if carried >= self._most:
                self._most = carried + 1
            job_id = carried_id(carrier, carried)
            self._small += 1
            acceptance = self._add(job_id, job.name, job, SMALL_HEAD + job.nbytes)
            due, self._due = self._due, True
        self._send_soon(due)
        return job_id, acceptance

    def _open(self) -> None:
        self._io.check_process()
        if self._io.closed:
            raise BrokerUnavailable(CLOSED)

    def _add(self, job: bytes, name: str, submission: Submission | Small, nbytes: int) -> Acceptance:
        acceptance = Acceptance()
        if self._held:
            acceptance.hold(self._why)
        self._waiting.append(_Waiting(job, name, submission, nbytes, acceptance))
        self._gathered += 1
        self._put += 1
        self._nbytes += nbytes
        return acceptance

    def _send_soon(self, due: bool) -> None:
        if not due and not self._io.post(self._send):
            self._give_up(BrokerUnavailable(CLOSED))

    def _next_carriers(self) -> None:
        self._carriers.clear()
        self._gathered = self._most = 0

    def wait_for_answers(self) -> None:
        """Wait until the broker has answered for as many jobs as have been put here.

        So a question that comes after a submit, in one thread, finds the job. A job that the broker has no
        room for is answered for, too, and so is one that waits behind it.
        """

        def answered() -> int:
            return self._gone + self._held_jobs + (len(self._waiting) if self._held else 0)

        with self._changed:
            until = self._put
            self._changed.wait_for(lambda: answered() >= until)

    def flush(self, timeout: float | None) -> bool:
        """Wait until the broker has taken or refused all jobs. Returns False if it has not in time.

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

    def wait_for_no_room(self) -> None:
        """From now on, what the broker has no room for is refused: the program does not wait for it."""
        with self._changed:
            self._patient, self._back_at = False, 0.0
        if not self._io.closed:
            self._io.post(self._send)

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
            with self._lock:
                parts = self._again() if self._held else self._new_parts()
                if not parts:
                    self._due = False
                    return
                self._under_way += 1
            message = to_broker.Submit(
                client=self._io.identity,
                jobs=tuple([part.submission.new for part in parts]),
                contents=[frame for part in parts for frame in part.submission.frames],
            )
            checked = {type(one.submission) for part in parts for one in part.jobs} == {Small}
            try:
                self._io.request(
                    message, partial(self._answered, parts), timeout=self._timeout, checked=checked
                )
            except Exception as error:  # it is larger than a message may be
                self._answered(parts, None, error)

    def _new_parts(self) -> list[_Part]:
        """What is submitted next; empty if it is not time for that."""
        if not self._waiting or self._under_way >= UNDER_WAY or self._may_gather():
            return []
        least = FEW if self._gather_until or len(self._waiting) >= TOGETHER else TOGETHER
        self._gather_until = 0.0
        jobs = [self._waiting.popleft()]
        nbytes = jobs[0].nbytes
        while self._waiting and len(jobs) < JOBS:
            nbytes += self._waiting[0].nbytes
            if nbytes > BYTES:
                break
            jobs.append(self._waiting.popleft())
        self._small -= sum([type(one.submission) is Small for one in jobs])
        self._next_carriers()
        return list(self._parts(jobs, least, time.monotonic()))

    def _again(self) -> list[_Part]:
        """What the broker had no room for, one message of it; empty if it is not time for that."""
        if self._under_way or (time.monotonic() < self._back_at and not self._io.closed):
            return []
        parts = [self._held.popleft()]
        number, nbytes = len(parts[0].jobs), _nbytes(parts[0])
        while self._held:
            number, nbytes = number + len(self._held[0].jobs), nbytes + _nbytes(self._held[0])
            if number > JOBS or nbytes > BYTES:
                break
            parts.append(self._held.popleft())
        self._held_jobs -= sum(len(part.jobs) for part in parts)
        return parts

    def _hold(self, held: list[_Part], why: str, after: float, taken: bool) -> None:
        """The broker has no room for these; ``taken``: for others of the same message it had."""
        now = time.monotonic()
        for one in (one for part in held for one in part.jobs):  # before the callers that wait are woken
            one.acceptance.hold(why)
        with self._changed:
            if taken or not self._held_since:
                self._held_since = now
            self._held.extend(held)
            self._held_jobs += sum(len(part.jobs) for part in held)
            self._why = why
            for behind in self._waiting:
                behind.acceptance.hold(why)
            self._back_at = now + after
            self._changed.notify_all()
            jobs = self._held_jobs + len(self._waiting)
        self._io.later(after, self._send)
        if now >= max(self._held_since + PATIENCE, self._tell_at):
            self._tell_at = now + REMIND
            log.warning("%d jobs are not submitted yet, and will be by themselves: %s", jobs, why)

    def _may_gather(self) -> bool:
        """Whether a few small jobs are all that waits, and more of them are about to come."""
        if len(self._waiting) != self._small or self._most >= TOGETHER or self._small >= JOBS:
            return False
        if self._under_way:
            return True
        if self._io.results.unfinished < MANY:
            return False
        now = time.monotonic()
        if not self._gather_until:
            self._gather_until = now + MOMENT
            self._io.later(MOMENT, self._send)
        return now < self._gather_until

    def _parts(self, jobs: Sequence[_Waiting], least: int, now: float) -> Iterator[_Part]:
        """The jobs of one message, small ones of one carrier together, if there are so many."""
        groups: dict[bytes, list[_Waiting]] = {}
        for one in jobs:
            groups.setdefault(one.job[PLACE:] if type(one.submission) is Small else one.job, []).append(one)
        for group in groups.values():
            small = [one.submission for one in group if type(one.submission) is Small]
            carrier, root = place_of(group[0].job)
            if len(small) < least or root or now < self._apart.get(small[0].kind[0], (now, 0.0))[0]:
                yield from map(_alone, group)
            else:
                yield _Part(Small.together(carrier, small), group)

    def _answered(
        self, parts: list[_Part], answer: answers.Submitted | None, error: BaseException | None
    ) -> None:
        outcomes = answer or ()
        held: list[_Part] = []
        gone: list[_Waiting] = []
        why, after, taken = "", 0.0, False
        for i, part in enumerate(parts):
            if i >= len(outcomes):
                lost = error or ZturboError("the broker has answered for fewer jobs")
            elif (at := outcomes[i].at) is not None:
                self._taken(part, at, outcomes[i].apart)
                gone += part.jobs
                taken = True
                continue
            elif outcomes[i].after > 0 and self._patient:
                held.append(part)
                why, after = outcomes[i].error or "the broker has no room", max(after, outcomes[i].after)
                continue
            else:
                lost = by_name(outcomes[i].kind or "", ZturboError)(outcomes[i].error or "refused")
            for one in part.jobs:
                self._refuse(one, lost)
            gone += part.jobs
        if held:
            self._hold(held, why, after, taken)
        elif taken and self._held_since:
            self._found_room()
        with self._lock:
            self._under_way -= 1
            self._let_go(gone)
            more = not self._due and bool(self._waiting or self._held)
            self._due = self._due or more
        if more:
            self._send(0.0)

    def _found_room(self) -> None:
        """The broker has taken a message, after it had no room."""
        if self._tell_at:
            log.warning("the broker takes jobs again")
        self._held_since = self._tell_at = 0.0

    def _taken(self, part: _Part, at: answers.Whereabouts, apart: bool) -> None:
        """The broker has these jobs."""
        new = part.submission.new
        if new.carries and not apart:
            self._io.results.carry(new.job, len(part.jobs), at)
            self._apart.pop(new.pipeline, None)
        elif new.carries:
            wait = min(2 * self._apart.get(new.pipeline, (0.0, APART / 2))[1], MOST_APART)
            self._apart[new.pipeline] = (time.monotonic() + wait, wait)
        for number, one in enumerate(part.jobs):
            mine = at.but(token=at.token + number) if number and apart else at
            if not new.stream and (apart or not new.carries):
                self._io.results.expect(one.job, mine)
            one.acceptance.accept(mine)

    def _refuse(self, one: _Waiting, error: BaseException) -> None:
        with self._changed:
            self._failed.append((one.name, one.acceptance, error))
        one.acceptance.refuse(error)

    def _let_go(self, part: list[_Waiting]) -> None:
        """Stop waiting for an answer for these jobs."""
        self._gone += len(part)
        self._nbytes -= sum([one.nbytes for one in part])
        self._changed.notify_all()
        if not self.waiting and self._then is not None:
            then, self._then = self._then, None
            then()

    def _give_up(self, error: BrokerUnavailable) -> None:
        """The I/O thread has ended: refuse the jobs that were not sent."""
        with self._changed:
            part, self._waiting, self._small = list(self._waiting), deque(), 0
        for one in part:
            self._refuse(one, error)
        with self._changed:
            self._let_go(part)


def _alone(one: _Waiting) -> _Part:
    submission = one.submission
    return _Part(submission.submission(one.job) if type(submission) is Small else submission, (one,))  # type: ignore[arg-type]


def _nbytes(part: _Part) -> int:
    return sum(one.nbytes for one in part.jobs)


def _new_carrier() -> bytes:
    return carrier_id(os.urandom(16 - PLACE))
