"""The client's I/O thread: one DEALER to the broker, one to each sink that has results for the client.

A request carries a ref, and is repeated until it is answered, so that the broker may restart in between. Only
this thread touches sockets and each :class:`~zturbo.core.result_stream.ResultStream`. Other threads hand it
calls with :meth:`ClientIO.post`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import zmq

from zturbo.client.process import check_process
from zturbo.client.subscription import Subscription, SubscriptionState
from zturbo.errors import (
    BrokerUnavailable,
    DecodeError,
    JobFailed,
    ResultsLost,
    StartError,
    UsageError,
    VersionMismatch,
    ZturboError,
    by_name,
)
from zturbo.runtime.members.complete import CompleteJobs
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.guard import Guard
from zturbo.runtime.net.host import is_loopback, same_network
from zturbo.runtime.net.sockets import Security, check_room, make
from zturbo.runtime.process.posted import Posted
from zturbo.version import __version__
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.codec import MAX_ANSWER, pack_control, read_answer, read_request
from zturbo.wire.control.fields import Kind
from zturbo.wire.control.message import Answer, Message, Request
from zturbo.wire.messages import PROTOCOL, Buffer, Results

__all__ = ["CLOSED", "SUPERSEDED", "ClientIO"]

log = logging.getLogger("zturbo.client")

QUIET = 3.0
"""Seconds without an answer after which the log says that the broker is away."""

REPEAT = 1.0
"""Seconds after which a request without an answer is sent again."""

ROUND = 256
"""Answers that are read in one round at most."""

LOCATE = 0.5
"""Seconds between two questions to the broker where a job's results are, while none arrive."""

FAR = (
    "results are at {} on {}, which that host alone reaches: start the sink there with --insecure and "
    "--address, the address by which others reach its host, or read them there"
)

AFTER_FAULT = 0.1
"""Seconds to wait after a round that failed: its cause may last."""

CLOSED = "the client was closed"

SUPERSEDED = "another client attached to this job and reads its results now"


@dataclass(slots=True)
class _Request:
    frames: list[Buffer]
    answer: Kind
    """Kind of the ``value`` in the broker's ``ok``."""
    future: Future[Any]
    deadline: float | None
    again: float
    asked: float = field(default_factory=time.monotonic)
    waits: float = 0.0
    """When the broker last said that it cannot answer yet."""

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """Give the answer or the error to the caller, unless it has cancelled the request."""
        if not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(value)
        else:
            self.future.set_exception(error)


def _packed(message: Message) -> list[Buffer]:
    """A request's frames. Raises UsageError, in the caller's thread, for one that no broker would take."""
    packed = pack_control(message)
    try:
        read_request(packed)
    except DecodeError as error:
        raise UsageError(f"a broker does not take this: {error}") from None
    return packed


class ClientIO:
    """The thread and its sockets.

    Args:
        broker: the broker's address.
    """

    def __init__(self, broker: str, security: Security | None = None) -> None:
        self.broker = broker
        self.identity = os.urandom(16)
        self._security = security
        check_room()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
        self._arrivals = Arrivals()
        self._control = make(
            self._context,
            zmq.DEALER,
            connect=broker,
            identity=self.identity,
            security=security,
            arrivals=self._arrivals,
            longest=MAX_ANSWER,
        )
        self._sinks: dict[bytes, zmq.Socket[bytes]] = {}
        self._guard = Guard(log)
        self._requests: dict[int, _Request] = {}
        self._heard = 0.0
        self._away = False
        self._reason = ""
        """Why the broker cannot answer, as it said; empty if it can."""
        self.complete = CompleteJobs()
        self._subscriptions: list[Subscription] = []
        self._ref = 0
        self._lock = threading.RLock()
        """Guards refs and posted calls. Reentrant: a dropped client's finalizer may run while it is held."""
        self._pid = os.getpid()
        self._posted = Posted()
        self._stopping = False
        self._over = False
        """Whether the thread takes no calls any more."""
        self._poller = zmq.Poller()
        self._poller.register(self._control, zmq.POLLIN)
        self._poller.register(self._posted.fd, zmq.POLLIN)
        self._thread = threading.Thread(target=self._run, name="zturbo-client", daemon=True)
        self._thread.start()

    # -- callers' side ------------------------------------------------------------------------
    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._stopping

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a forked child: the thread runs in the parent alone."""
        return os.getpid() != self._pid

    def check_process(self) -> None:
        """Raise UsageError in a forked child: it has a copy of this object, without its thread."""
        advice = "a connection does not outlive a fork. Make a new client here, in the child"
        check_process(self._pid, "this client", advice)

    def post(self, call: Callable[[float], None]) -> bool:
        """Let the I/O thread make this call, with the time as argument. Returns False if it has ended.

        Raises:
            UsageError: this is a forked child.
        """
        self.check_process()
        with self._lock:
            if self._over:
                return False
            self._posted.add(call)
        return True

    def ask(self, message: Request[Answer], *, timeout: float | None = None) -> Future[Answer]:
        """Ask the broker; the future gets the value of its ``ok``, or its error as a ZturboError."""
        self.check_process()
        with self._lock:
            self._ref += 1
            ref = self._ref
        now = time.monotonic()
        future: Future[Answer] = Future()
        if self._stopping:
            future.set_exception(BrokerUnavailable(CLOSED))
            return future
        request = _Request(
            _packed(message.but(ref=ref)),
            message.answer(),
            future,
            None if timeout is None else now + timeout,
            now,
        )

        def start(now: float) -> None:
            self._requests[ref] = request
            self._say(ref, request, now)

        if not self.post(start):
            future.set_exception(BrokerUnavailable(CLOSED))
        return future

    def hello(self, timeout: float) -> answers.Greeting:
        """Greet the broker; raises BrokerUnavailable or VersionMismatch."""
        message = to_broker.ClientHello(client=self.identity, protocol=PROTOCOL, version=__version__)
        return self.ask(message, timeout=timeout).result()

    def subscribe(self, subscription: Subscription, at: answers.Whereabouts | None) -> None:
        """Begin to read a job's results.

        Args:
            subscription: the reader's.
            at: where the results are, if the broker has just told; then it is not asked first.
        """

        def start(now: float) -> None:
            self._subscriptions.append(subscription)
            if at is not None:
                self.located(subscription, at)

        if not self.post(start):
            subscription.fail(BrokerUnavailable(CLOSED))

    def unsubscribe(self, subscription: Subscription, *, tell: bool = False) -> None:
        """Stop reading; ``tell`` the sink how many results were taken. Without effect in a forked child."""
        if self.forked:
            return

        def stop(now: float) -> None:
            want = subscription.stream.last_word() if tell and not subscription.over else None
            subscription.end()
            if want is not None and subscription.sink:
                with contextlib.suppress(zmq.Again):  # the last question told it nearly the same
                    self._sinks[subscription.sink].send_multipart(encode(want), zmq.DONTWAIT)
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

        self.post(stop)

    def stop(self) -> None:
        """Let the thread close the sockets and end, without waiting for it. No effect in a forked child."""
        if self.forked:
            return
        with self._lock:
            self._stopping = True
            if not self._over:
                self._posted.wake()

    def close(self) -> None:
        """End the thread, close the sockets. Without effect in a forked child: they are its parent's."""
        self.stop()
        # At the interpreter's end daemon threads stand still, and would never end.
        if not self.forked and self._thread is not threading.current_thread() and not sys.is_finalizing():
            self._thread.join()

    # -- the thread ---------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._round()
                except Exception as error:  # callers wait for this thread: it goes on
                    self._guard.failed("a round", error)
                    time.sleep(AFTER_FAULT)
        finally:
            self._end()

    def _round(self) -> None:
        now = time.monotonic()
        until = min(now + 0.5, self._requests_due(now), self._arrivals.look(now))
        for subscription in list(self._subscriptions):
            until = min(until, self._serve(subscription, now))
        timeout = max(0.0, until - now) if self._posted.may_sleep() else 0.0
        ready = self._poller.poll(math.ceil(timeout * 1000))
        self._posted.woke()
        now = time.monotonic()
        for socket, _ in ready:
            if socket == self._posted.fd:
                self._posted.read()
            elif socket is self._control:
                self._read_control()
            elif isinstance(socket, zmq.Socket):
                self._read_sink(socket, now)
        for call in self._posted.take():
            self._call(call, now)

    def _end(self) -> None:
        """Close the sockets; give each caller that waits an error."""
        self._stopping = True
        with self._lock:
            self._over = True
            self._posted.close()
        for call in self._posted.take():
            self._call(call, time.monotonic())
        for request in list(self._requests.values()):
            request.settle(None, BrokerUnavailable(CLOSED))
        for subscription in list(self._subscriptions):
            subscription.fail(BrokerUnavailable(CLOSED))
        self._arrivals.forget()
        self._control.close()
        for sink in self._sinks.values():
            sink.close()
        self._context.term()

    def _call(self, call: Callable[[float], None], now: float) -> None:
        """Make a posted call. An exception of it does not end the thread, for which other callers wait."""
        try:
            call(now)
        except Exception as error:
            self._guard.failed("a call", error)

    def _say(self, ref: int, request: _Request, now: float) -> None:
        request.again = now + REPEAT
        try:
            self._control.send_multipart(request.frames, zmq.DONTWAIT)
        except zmq.Again:
            request.again = now + 0.05

    def _requests_due(self, now: float) -> float:
        until = now + REPEAT
        if self._reason and not any(request.waits for request in self._requests.values()):
            self._reason = ""
        waiting = [request for request in self._requests.values() if request.asked + QUIET < now]
        if waiting and self._heard + QUIET < now and not self._away:
            self._complain([request.deadline for request in waiting], now)
        for ref, request in list(self._requests.items()):
            if request.deadline is not None and now >= request.deadline:
                del self._requests[ref]
                request.settle(None, BrokerUnavailable(self._unanswered(request)))
                continue
            if request.future.cancelled():
                del self._requests[ref]
                continue
            if now >= request.again:
                self._say(ref, request, now)
            until = min(until, request.again)
            if request.deadline is not None:
                until = min(until, request.deadline)
        return until

    def _complain(self, deadlines: list[float | None], now: float) -> None:
        """Log once that the broker does not answer, unless an error is about to tell it."""
        ends = [end for end in deadlines if end is not None]
        left = max(ends) - now if len(ends) == len(deadlines) else math.inf
        if left < QUIET:
            return
        self._away = True
        how_long = "until it does" if left == math.inf else f"for {left:.0f} s more"
        log.warning("the broker at %s does not answer; the client asks again %s", self.broker, how_long)

    def _unanswered(self, request: _Request) -> str:
        if request.waits + QUIET > time.monotonic():
            return (
                f"the broker at {self.broker} waits, and has not taken this request in time: {self._reason}. "
                "It may still take it later"
            )
        return (
            f"no broker answers at {self.broker}: start one with 'zturbo up FILE', or name another address, "
            "with --broker or in $ZTURBO_BROKER"
        )

    def _read_control(self) -> None:
        for _ in range(ROUND):
            try:
                frames = self._arrivals.receive(self._control)
            except zmq.Again:
                return
            try:
                self._hear(read_answer([frame.buffer for frame in frames]))
            except DecodeError as error:
                log.debug("dropped a message: %s", error)
            except Exception as error:  # other callers still get their answers
                self._guard.failed("the broker's answer", error)

    def _hear(self, message: Message) -> None:
        """Handle a message of the broker."""
        self._heard = time.monotonic()
        if self._away:
            self._away = False
            log.warning("the broker at %s answers again", self.broker)
        if isinstance(message, from_broker.Wait):
            self._waits(message)
            return
        if not isinstance(message, (from_broker.Ok, from_broker.Error)):
            return
        request = self._requests.pop(message.ref, None)
        if request is None:
            return
        if request.waits and self._reason:
            self._reason = ""
            log.warning("the broker at %s goes on", self.broker)
        if isinstance(message, from_broker.Error):
            kind = by_name(message.kind, ZturboError)
            request.settle(None, kind(message.message))
            return
        try:
            value = request.answer.check(message.value)
        except DecodeError as error:
            request.settle(None, DecodeError(f"the broker's answer cannot be read: {error}"))
        else:
            request.settle(value)

    def _waits(self, message: from_broker.Wait) -> None:
        """The broker says why it will answer later."""
        request = self._requests.get(message.ref)
        if request is None:
            return
        request.waits = self._heard
        if self._reason != message.reason:
            self._reason = message.reason
            log.warning("the broker at %s waits: %s", self.broker, self._reason)

    # -- results ------------------------------------------------------------------------------
    def _serve(self, sub: Subscription, now: float) -> float:
        """Ask the broker and the sink what is due for a reader. Returns when to call again."""
        if sub.over:
            return now + 60
        if not sub.locating and now >= sub.locate_at:
            self._locate(sub, now)
        if sub.sink:
            want = sub.stream.want(now)
            if want is not None:
                try:
                    self._sinks[sub.sink].send_multipart(encode(want), zmq.DONTWAIT)
                except zmq.Again:
                    sub.stream.restart()
                    return now + 0.01
        due = sub.stream.deadline()
        return sub.locate_at if due is None or not sub.sink else min(due, sub.locate_at)

    def _locate(self, sub: Subscription, now: float) -> None:
        """Ask the broker where the results are. This is repeated, since they may move."""
        sub.locating = True
        sub.locate_at = now + LOCATE
        future = self.ask(to_broker.Attach(job=sub.stream.job))

        def located(done: Future[answers.Whereabouts]) -> None:
            sub.locating = False
            error = done.exception()
            if sub.over:
                return
            if error is not None:
                self._finish(sub, error)
                return
            self.located(sub, done.result())

        future.add_done_callback(located)

    def located(self, sub: Subscription, value: answers.Whereabouts) -> None:
        """The broker says where the results are. Called in the I/O thread."""
        now = time.monotonic()
        sub.stream.turn(value.token)
        if value.state in ("failed", "cancelled"):
            kind = by_name(value.kind or "", JobFailed)
            self._finish(sub, kind(value.error or value.state))
            return
        idle = now - sub.heard > 2 * LOCATE
        sub.locate_at = now + (LOCATE if idle else 4 * LOCATE)
        sink = value.sink
        if sub.state is SubscriptionState.DOUBTED:
            if value.state == "done" and sink == sub.sink:
                self._finish(sub, ResultsLost(sub.doubt))
                return
            sub.seek()
        if not sink:
            sub.locate_at = now + 0.05
            return
        if sink == sub.sink:
            return
        if sink not in self._sinks:
            if is_loopback(value.results[0]) and not same_network(value.host):
                self._finish(sub, UsageError(FAR.format(value.results[0], value.host)))
                return
            try:
                socket = self._connect(value.results[0])
            except StartError as error:
                self._finish(sub, StartError(f"no connection to the sink: {error}"))
                return
            self._sinks[sink] = socket
            self._poller.register(socket, zmq.POLLIN)
        sub.read_from(sink)

    def _connect(self, address: str) -> zmq.Socket[bytes]:
        return make(
            self._context,
            zmq.DEALER,
            connect=address,
            identity=self.identity,
            security=self._security,
            arrivals=self._arrivals,
        )

    def _read_sink(self, socket: zmq.Socket[bytes], now: float) -> None:
        for _ in range(64):
            try:
                frames = self._arrivals.receive(socket)
            except zmq.Again:
                return
            try:
                message = decode([frame.buffer for frame in frames])
            except (DecodeError, VersionMismatch) as error:
                log.debug("dropped a message: %s", error)
                continue
            if type(message) is not Results:
                continue
            nbytes = sum(len(frame) for frame in frames)
            for sub in self._subscriptions:
                if sub.stream.job != message.job or sub.stream.token != message.token:
                    continue
                if self._sinks.get(sub.sink) is not socket:
                    break  # from a sink that had the results before
                skip = sub.stream.results(message, nbytes, now)
                sub.heard = now
                if skip is not None:
                    sub.deliver(message, skip)
                if sub.stream.problem is not None:
                    self._doubt(sub, sub.stream.problem, now)
                elif sub.stream.complete and skip is None:
                    sub.deliver(message, message.n)
                break

    def _doubt(self, sub: Subscription, problem: str, now: float) -> None:
        """The sink does not serve the job: ask the broker, which knows whether the job has ended."""
        if problem == "superseded":
            self._finish(sub, ResultsLost(SUPERSEDED))
        elif sub.state is SubscriptionState.READING:
            sub.doubted(problem)
            sub.locate_at = now

    def _finish(self, sub: Subscription, error: BaseException) -> None:
        if sub in self._subscriptions:
            self._subscriptions.remove(sub)
        if not sub.over:
            sub.end()
            sub.fail(error)
