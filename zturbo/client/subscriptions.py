"""The readers of one client, and its sockets to the sinks. All of it happens in the client's I/O thread."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future

import zmq

from zturbo.checks import is_loopback
from zturbo.client.memory import ClientMemory
from zturbo.client.pushed import Pushed
from zturbo.client.subscription import SOON, Subscription, SubscriptionState
from zturbo.client.together import Together
from zturbo.client.waits import Waits
from zturbo.errors import (
    DecodeError,
    JobFailed,
    ResultsLost,
    StartError,
    UsageError,
    VersionMismatch,
    ZturboError,
    by_name,
)
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.findings import Examiner
from zturbo.runtime.net.host import same_network, with_zone
from zturbo.runtime.net.sockets import Dealer, has_more, send_frames
from zturbo.wire.carried import carried_id, place_of
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import answers, to_broker
from zturbo.wire.messages import READ_ONCE, Buffer, DataMessage, Results

__all__ = ["SUPERSEDED", "Subscriptions"]

log = logging.getLogger("zturbo.client")

ROUND = 64
"""Messages of one sink that are read in one round at most."""

HEAD = 64
"""About how many bytes results have beside their contents."""

LATE = 0.5
"""Seconds in which a sink tells a reader with an old turn that another reader has a newer one. A reader that
comes after that takes over."""

PUSH_WAIT = 0.02
"""Seconds that a reader waits for results that may come unasked, before it asks for them. It does not wait
if the results of the job before were too many, or too large, to come unasked."""

CARRIER_WAIT = 0.005
"""As :data:`PUSH_WAIT`, for the carrier of jobs that travel together."""

TRAVEL_WAIT = 1.0
"""As :data:`PUSH_WAIT`, for a job that travels with others: its results come with theirs."""

LOCATE = 0.5
"""While no results of a job arrive: seconds between two questions to the broker where they are."""

PATIENCE = 0.2
"""Seconds without a connection to a sink, after which the client looks what there is at its address."""

NEXT_WAY = 1.0
"""Seconds without a connection to a sink, after which another of its addresses is tried."""

LOOK_EVERY = 0.25
"""Seconds between two looks what the jobs wait for that are read."""

FAR = (
    "results are at {} on {}, which that host alone reaches: start the sink there with --insecure and "
    "--address, the address by which others reach its host, or read them there"
)

SUPERSEDED = "another reader attached to this job and reads its results now"


class Subscriptions:
    """All readers.

    Args:
        connect: makes a socket to a sink, which the I/O thread polls; raises StartError.
        disconnect: closes such a socket.
        ask: asks the broker.
        arrivals: counts bytes that have come.
        memory: reads what a sink on this host has in shared memory.
        zone: the card on which link-local addresses are reached; empty if there is none.
    """

    def __init__(
        self,
        connect: Callable[[str, str], Dealer],
        disconnect: Callable[[Dealer], None],
        ask: Callable[[to_broker.Attach], Future[answers.Whereabouts]],
        arrivals: Arrivals,
        memory: ClientMemory,
        zone: str = "",
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._ask = ask
        self._arrivals = arrivals
        self._sinks: dict[bytes, Dealer] = {}
        self._changes: dict[zmq.Socket[bytes], bytes] = {}
        """Socket that tells of a connection to a sink -> the sink."""
        self._jobs: dict[bytes, list[Subscription]] = {}
        """Job -> its readers, which take turns."""
        self.pushed = Pushed()
        """Results that have come before their readers."""
        self._asks = False
        """Whether readers ask for results at once. The results of the job before were more than come unasked,
        and so may be those of the next."""
        self._examiners: dict[bytes, Examiner] = {}
        """Sink -> what is seen at its address while there is no connection to it."""
        self._waits = Waits()
        self._look_at = 0.0
        self._memory = memory
        self._zone = zone
        self._turns: dict[bytes, int] = {}
        """Sink with several addresses -> which of them is used."""
        self._began: dict[bytes, float] = {}
        """Such a sink, with which there was no connection yet -> since when it is tried."""
        self._together: dict[bytes, Together] = {}
        """Carrier -> its jobs, until all of them have ended."""
        self.ended: Callable[[bytes], object] = lambda job: None
        """Called when a job that travels with others is done."""
        self._near: set[zmq.Socket[bytes]] = set()
        """Sockets to sinks on this host."""

    def _all(self) -> list[Subscription]:
        return [sub for subs in self._jobs.values() for sub in subs]

    # -- readers ------------------------------------------------------------------------------
    def begin(self, sub: Subscription, accepted: Future[answers.Whereabouts], turn: bool, now: float) -> None:
        """Begin to read a job, now that the broker has answered for it.

        Args:
            sub: the reader.
            accepted: the answer.
            turn: whether this reader may use the token in the answer; if not, it asks the broker for another.
            now: monotonic seconds.
        """
        error = accepted.exception()
        sub.late_until = now + LATE
        if sub.over:
            return
        if error is not None:
            self._finish(sub, error)
            return
        self._jobs.setdefault(sub.stream.job, []).append(sub)
        pushed = self.pushed.give(sub.stream.job)
        if pushed is not None and self._take_pushed(sub, *pushed, now):
            return
        if turn:
            if pushed is not None:
                travels = self.has_ended(sub.stream.job) is False
                wait = TRAVEL_WAIT if travels else 0.0 if self._asks else PUSH_WAIT
                sub.stream.quiet_until(now + wait)
            at = accepted.result()
            socket = self._sinks.get(at.sink)
            self._located(sub, at)
            if sub.late and not sub.over and (socket is None or socket.broken or not socket.connections):
                sub.look_now(now)  # the answer is old, and that sink may be gone

    def _take_pushed(
        self, sub: Subscription, token: int, arrived: list[tuple[Results, int]], now: float
    ) -> bool:
        """Give a reader the results that have come before it. Returns whether they are all of the job's."""
        if sub.stream.next != 0 or not arrived or arrived[-1][0].total is None:
            return False
        sub.stream.turn(token)
        for results, nbytes in arrived:
            self._give(sub, results, nbytes, now)
        return sub.stream.complete

    def end(self, sub: Subscription, *, tell: bool) -> None:
        """Stop reading. With ``tell``, tell the sink how many results were taken."""
        want = None if sub.over else sub.stream.last_word(tell=tell)
        sub.end()
        if want is not None and sub.sink:
            with contextlib.suppress(zmq.Again):  # the last question told it nearly the same
                send_frames(self._sinks[sub.sink], encode(want))
        self._drop(sub)

    def _drop(self, sub: Subscription) -> None:
        subs = self._jobs.get(sub.stream.job, [])
        if sub in subs:
            subs.remove(sub)
        if not subs:
            self._jobs.pop(sub.stream.job, None)

    def _finish(self, sub: Subscription, error: BaseException) -> None:
        self._drop(sub)
        if not sub.over:
            sub.end()
            sub.fail(error)

    def close(self, error: BaseException) -> None:
        """The client is closed: all readers get this error."""
        for sub in self._all():
            sub.fail(error)
        for sink in self._sinks.values():
            sink.close()

    # -- where results are --------------------------------------------------------------------
    def expect(self, job: bytes, at: answers.Whereabouts) -> None:
        """Connect to the sink of a job whose results may come unasked.

        Those of a job that travels with others come with theirs, also if it was submitted once more.
        """
        if self.has_ended(job) is False:
            return
        if at.sink and (at.sink in self._sinks or self._reach(at) is None):
            self.pushed.expect(job, at.token, at.sink)

    def carry(self, carrier: bytes, count: int, at: answers.Whereabouts) -> None:
        """Read the results of jobs that travel together, as the jobs end. The first ones come unasked."""
        together = self._together[carrier] = Together(carrier, count, at.token)
        now = time.monotonic()
        for root in range(count):
            self.pushed.expect(carried_id(carrier, root), at.token, at.sink)
        # The first ones may have come before this, and are lost then.
        together.stream.quiet_until(now + CARRIER_WAIT)
        sub = Subscription(
            together.stream,
            lambda results, skip: None,  # each job's results go to its own reader
            lambda error: self._give_up(together, error),
        )
        self._jobs[carrier] = [sub]
        self._located(sub, at)

    @property
    def unfinished(self) -> int:
        """About how many jobs have results that this client waits for, or expects unasked."""
        return len(self._jobs) + self.pushed.unfinished

    def has_ended(self, job: bytes) -> bool | None:
        """Whether a job that travels with others has ended; None if it travels no more, or never did."""
        if not self._together:
            return None
        carrier, root = place_of(job)
        together = self._together.get(carrier)
        return None if together is None else root in together.ended

    def _carried(self, together: Together, results: Results, nbytes: int, now: float) -> None:
        """Results of a carrier have come: give each job that has ended its results."""
        try:
            jobs = together.take(results, nbytes, now)
        except DecodeError as error:
            log.debug("results of jobs that travel together cannot be read: %s", error)
            self._give_up(together, error)
            return
        for job, parts in jobs:
            self._carried_job(job, parts, now)
        if together.complete:
            self._end_travel(together)
        elif (problem := together.problem) is not None:
            self._give_up(together, ResultsLost(problem))

    def _carried_job(self, job: bytes, parts: list[Results], now: float) -> None:
        """A job that travels with others has ended: its results go to its reader, or wait for one."""
        sub = next((sub for sub in self._jobs.get(job, ()) if sub.stream.token == parts[0].token), None)
        for part in parts:
            if sub is not None:
                self._give(sub, part, HEAD + part.nbytes, now)
            else:
                self.pushed.take(part, HEAD + part.nbytes)
        self.ended(job)

    def _give_up(self, together: Together, error: BaseException) -> None:
        """No more results come of a carrier: who reads its jobs asks the broker, and hears why."""
        log.debug("jobs that travel together: %s", error)
        self._end_travel(together)
        now = time.monotonic()
        for root in range(together.count):
            for sub in self._jobs.get(carried_id(together.carrier, root), ()):
                sub.stream.quiet_until(now)
                sub.look_now(now)

    def _end_travel(self, together: Together) -> None:
        self._together.pop(together.carrier, None)
        for sub in self._jobs.pop(together.carrier, ()):
            if not sub.over:
                sub.end()

    def moved(self, jobs: Iterable[bytes], now: float) -> None:
        """The broker says that the results of these jobs may be elsewhere now."""
        for job in jobs:
            for sub in self._jobs.get(job, ()):
                sub.look_now(now)

    def _locate(self, sub: Subscription, now: float) -> None:
        """Ask the broker where the results are. This is repeated, since they may move."""
        sub.locating = True
        sub.located_at, sub.locate_at = now, now + LOCATE
        future = self._ask(to_broker.Attach(job=sub.stream.job))

        def located(done: Future[answers.Whereabouts]) -> None:
            sub.locating = False
            error = done.exception()
            if sub.over:
                return
            if error is not None:
                self._finish(sub, error)
                return
            self._located(sub, done.result())

        future.add_done_callback(located)

    def _located(self, sub: Subscription, value: answers.Whereabouts) -> None:
        """Read from the sink that the broker has named, or end if there will be no results."""
        now = time.monotonic()
        sub.stream.turn(value.token)
        sub.name = value.name
        if value.state in ("failed", "cancelled"):
            kind = by_name(value.kind or "", JobFailed)
            self._finish(sub, kind(value.error or value.state))
            return
        idle = now - sub.heard > 2 * LOCATE
        sub.waits = (value.waiting or "") if idle else ""
        sub.unreached = self._unreached(value) if idle else ""
        sub.locate_at = now + (LOCATE if idle else 4 * LOCATE)
        sink = value.sink
        together = self._together.get(sub.stream.job)
        if sink and together is not None and not together.fits(sink, value.epoch):
            self._give_up(together, ResultsLost("they were lost, and come in another order now"))
            return
        if sub.state is SubscriptionState.DOUBTED:
            if value.state == "done" and sink == sub.sink:
                self._finish(sub, ResultsLost(sub.doubt))
                return
            sub.seek()
        if not sink:
            sub.look_soon(now)
            return
        if sink == sub.sink:
            if self._sinks[sink].broken:
                sub.look_soon(now)
            return
        if sub.sink and self._sinks[sub.sink].broken:
            self._leave(sub.sink, now)
        if sink not in self._sinks and (problem := self._reach(value)) is not None:
            self._finish(sub, problem)
            return
        sub.read_from(sink)

    def _reach(self, at: answers.Whereabouts) -> ZturboError | None:
        """Connect to a sink. Returns an error if this client cannot reach it."""
        near = same_network(at.host)
        ways = [way for way in at.results if near or not is_loopback(way)]
        if not ways:
            return UsageError(FAR.format(at.results[0], at.host))
        turn = self._turns.get(at.sink, 0)
        way = with_zone(ways[turn % len(ways)], self._zone)
        if near:  # before the sink is asked, which looks whether it is there
            self._memory.make()
        try:
            socket = self._sinks[at.sink] = self._connect(way, at.key)
        except StartError as error:
            return StartError(f"no connection to the sink: {error}")
        self._examiners[at.sink] = Examiner(way, "sink", PATIENCE)
        if len(ways) > 1:
            self._turns.setdefault(at.sink, turn)
            self._began[at.sink] = time.monotonic()
        self._changes[socket.changes] = at.sink
        if near:
            self._near.add(socket)
        return None

    def _unreached(self, at: answers.Whereabouts) -> str:
        """A sink to which there is no connection, and what is seen of it; empty if there is one."""
        examiner = self._examiners.get(at.sink)
        seen = "" if examiner is None else examiner.seen
        return f"the sink on {at.host}: {seen}" if seen else ""

    def _look(self, now: float) -> None:
        """Look what the jobs wait for that are read, and for sinks to which there is no connection."""
        self._look_at = now + LOOK_EVERY
        reading = {sub.sink for sub in self._all() if sub.sink}
        for sink, examiner in self._examiners.items():
            socket = self._sinks[sink]
            there = sink not in reading or socket.connected()
            examiner.news(now, answers=there)
        for sink, began in list(self._began.items()):
            if self._sinks[sink].connections:
                del self._began[sink]
            elif now - began > NEXT_WAY:
                self._turns[sink] += 1
                self._leave(sink, now)
        self._waits.look(self._all(), now)

    def _leave(self, sink: bytes, now: float) -> None:
        """Close the broken socket to a sink: no reader waits for results of it any more.

        Open, it would connect to any process that gets the address, and take this client's id there.
        """
        for sub in self._all():
            if sub.sink == sink:
                sub.sink = b""
                sub.look_now(now)
        self._began.pop(sink, None)
        socket = self._sinks.pop(sink)
        del self._changes[socket.changes], self._examiners[sink]
        self._near.discard(socket)
        self._disconnect(socket)

    # -- questions and answers ----------------------------------------------------------------
    def serve(self, now: float) -> float:
        """Send the questions that are due. Returns when the next ones are."""
        due = now + 60
        if self._jobs:
            for sub in self._all():
                due = min(due, self._serve(sub, now))
        if now >= self._look_at:
            self._look(now)
        if now >= self._memory.trim_at:
            self._memory.trim(now)
        return min(due, self._memory.trim_at, self._look_at if self._jobs else math.inf)

    def _serve(self, sub: Subscription, now: float) -> float:
        if sub.state is SubscriptionState.OVER:
            return now + 60
        if sub.sink and self._sinks[sub.sink].broken:
            sub.locate_at = min(sub.locate_at, sub.located_at + sub.pause)
        if not sub.locating and now >= sub.locate_at:
            self._locate(sub, now)
        if sub.sink:
            want = sub.stream.want(now)
            if want is not None:
                try:
                    send_frames(self._sinks[sub.sink], encode(want))
                except zmq.Again:
                    sub.stream.restart()
                    return now + 0.01
        due = sub.stream.deadline()
        return sub.locate_at if due is None or not sub.sink else min(due, sub.locate_at)

    def read(self, socket: zmq.Socket[bytes], now: float) -> None:
        """Take what a sink has sent; or note that the connection to one stands, or is broken."""
        if (changed := self._changes.get(socket)) is not None:
            self._sinks[changed].connected()
            if self._sinks[changed].broken and not any(sub.sink == changed for sub in self._all()):
                self._leave(changed, now)
            return
        for _ in range(ROUND):
            try:
                frames = self._arrivals.receive(socket)
            except zmq.Again:
                return
            try:
                message = self._message(socket, [frame.buffer for frame in frames])
            except (DecodeError, VersionMismatch) as error:
                log.debug("dropped a message: %s", error)
                continue
            if type(message) is Results:
                riders, message.riders = message.riders, []
                for results in (message, *riders):
                    self._results(socket, results, HEAD + results.nbytes, now)
            if socket.closed or not has_more(socket):
                return

    def _message(self, socket: zmq.Socket[bytes], frames: list[Buffer]) -> DataMessage:
        """The message in the frames; raises DecodeError."""
        return decode(self._memory.incoming(frames, near=socket in self._near))

    def _results(self, socket: zmq.Socket[bytes], message: Results, nbytes: int, now: float) -> None:
        for sub in self._jobs.get(message.job, ()):
            if sub.stream.token == message.token:
                if self._sinks.get(sub.sink) is socket:  # else from a sink that had the results before
                    self._give(sub, message, nbytes, now)
                return
        if self._sinks.get(self.pushed.sink_of(message.job)) is socket:
            self.pushed.take(message, nbytes)

    def _give(self, sub: Subscription, message: Results, nbytes: int, now: float) -> None:
        """Give a reader results that have come for it."""
        sub.heard, sub.pause = now, SOON
        together = self._together.get(message.job)
        if together is not None and together.stream is sub.stream:
            self._carried(together, message, nbytes, now)
        else:
            skip = sub.stream.results(message, nbytes, now)
            if skip is not None:
                if sub.stream.complete:
                    self._asks = not sub.stream.small
                sub.deliver(message, skip)
            elif sub.stream.complete and sub.stream.problem is None:
                sub.deliver(message, message.n)
        if sub.stream.problem is not None:
            self._doubt(sub, sub.stream.problem, now)

    def _doubt(self, sub: Subscription, problem: str, now: float) -> None:
        """The sink refuses this reader. If another reader has replaced it, it ends. Else it asks the broker
        where the results are now."""
        if problem == READ_ONCE:
            self._finish(sub, ResultsLost(problem))
        elif problem == "superseded":
            if sub.overtaken(now):
                sub.locate_at = now
            else:
                self._finish(sub, ResultsLost(SUPERSEDED))
        elif sub.state is SubscriptionState.READING:
            sub.doubted(problem)
            sub.locate_at = now
