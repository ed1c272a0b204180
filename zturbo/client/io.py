"""The client's I/O thread: one DEALER to the broker, one to each sink that has results for the client.

A request carries a ref, and is repeated until it is answered, so that the broker may restart in between. Only
this thread touches sockets and each :class:`~zturbo.core.result_stream.ResultStream`. Other threads hand it
calls with :meth:`ClientIO.post`.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import zmq

from zturbo.client.acceptance import Acceptance
from zturbo.client.memory import ClientMemory
from zturbo.client.process import check_process
from zturbo.client.subscription import Subscription
from zturbo.client.subscriptions import Subscriptions
from zturbo.errors import (
    AccessDenied,
    BrokerUnavailable,
    DecodeError,
    UsageError,
    ZturboError,
    by_name,
)
from zturbo.errortext import render
from zturbo.runtime.members.complete import CompleteJobs
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.findings import Examiner
from zturbo.runtime.net.guard import Guard
from zturbo.runtime.net.host import zone_of
from zturbo.runtime.net.keys import Security
from zturbo.runtime.net.limits import check_room, new_context
from zturbo.runtime.net.routes import own_identity
from zturbo.runtime.net.sockets import Dealer, has_more, make, send_frames
from zturbo.runtime.process.posted import Posted
from zturbo.slotted import field, slotted
from zturbo.version import __version__
from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.codec import MAX_ANSWER, pack_control, read_answer, read_request
from zturbo.wire.control.fields import Kind
from zturbo.wire.control.message import Answer, Message, Request
from zturbo.wire.messages import PROTOCOL, Buffer

__all__ = ["CLOSED", "ClientIO"]

log = logging.getLogger("zturbo.client")

QUIET = 3.0
"""Seconds without an answer after which the log says that the broker is away."""

PATIENCE = 0.3
"""Seconds without an answer after which the client looks what there is at the broker's address."""

REPEAT = 1.0
"""Seconds after which a request without an answer is sent again."""

WHOLE = 3
"""Each time that it is sent so often, a request has all its bytes: a broker that has not found what it was
referred to does not say so."""

ROUND = 256
"""Answers that are read in one round at most."""


AFTER_FAULT = 0.1
"""Seconds to wait after a round that failed: its cause may last."""

CLOSED = "the client was closed"

_in_thread = threading.local()
"""Has ``of`` in the I/O threads of clients: whose thread it is."""


Settle = Callable[[Any, BaseException | None], None]
"""Gets the answer to a request, or the error that there is in its place. In the I/O thread, or at once."""


@slotted
class _Request:
    frames: list[Buffer]
    answer: Kind
    """Kind of the ``value`` in the broker's ``ok``."""
    settle: Settle
    future: Future[Any] | None
    """Its future, which the caller may cancel, if it has one."""
    deadline: float | None
    again: float
    patient: bool
    """Whether a broker that is well may leave it without an answer for long."""
    asked: float = field(default_factory=time.monotonic)
    tries: int = 0
    waits: float = 0.0
    """When the broker last said that it cannot answer yet."""
    unsent: bool = False
    """Whether it could not be sent, for want of a connection."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future is not None and self.future.cancelled()

    def give(self, value: Any, error: BaseException | None = None) -> None:
        """Give the answer, or the error, to the caller. An exception of its code does not end the thread."""
        try:
            self.settle(value, error)
        except Exception as failure:
            log.error("the broker's answer could not be used\n%s", render(failure).traceback)


def _to(future: Future[Any]) -> Settle:
    """What gives the answer or the error to a future, unless its caller has cancelled it."""

    def settle(value: Any, error: BaseException | None) -> None:
        if not future.set_running_or_notify_cancel():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    return settle


def _packed(message: Message, *, checked: bool) -> list[Buffer]:
    """A request's frames. Raises UsageError, in the caller's thread, for one that no broker would take."""
    packed = pack_control(message)
    if checked:
        return packed
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
        self._context = new_context()
        self._arrivals = Arrivals()
        control = make(
            self._context,
            zmq.DEALER,
            connect=broker,
            identity=own_identity(self.identity, secured=security is not None and broker.startswith("tcp:")),
            security=security,
            arrivals=self._arrivals,
            longest=MAX_ANSWER,
        )
        assert isinstance(control, Dealer)
        self._control = control
        self._guard = Guard(log)
        self._requests: dict[int, _Request] = {}
        self._connections = 0
        """How often the connection has stood. Each time, all that waits for one is sent."""
        self._heard = 0.0
        self._examiner = Examiner(broker, "broker", PATIENCE)
        self._silent_since = math.inf
        """Since when the broker has been silent, though it owes an answer."""
        self._away = False
        self._reason = ""
        """Why the broker cannot answer, as it said; empty if it can."""
        self.complete = CompleteJobs()
        self.memory = ClientMemory(self.identity, broker)
        self.results = Subscriptions(
            self._connect, self._disconnect, self.ask, self._arrivals, self.memory, zone_of(broker)
        )
        self._ref = 0
        self._lock = threading.RLock()
        """Guards refs and posted calls. Reentrant: a dropped client's finalizer may run while it is held."""
        self._pid = os.getpid()
        self._posted = Posted()
        self._stopping = False
        self._over = False
        """Whether the thread takes no calls any more."""
        self._later: list[tuple[float, Callable[[float], None]]] = []
        """(when, call) for each call that is to be made later."""
        self._poller = zmq.Poller()
        self._poller.register(self._control, zmq.POLLIN)
        self._poller.register(self._control.changes, zmq.POLLIN)
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

    @staticmethod
    def may_wait(timeout: float) -> float:
        """Seconds that the caller may wait for a broker's answer: none in a thread that takes such answers,
        where the garbage collector may close a program's iterators. Else ``timeout``."""
        return 0.0 if hasattr(_in_thread, "of") else timeout

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

    def _soon(self, call: Callable[[float], None]) -> bool:
        """As :meth:`post`; in the I/O thread itself the call is made at once."""
        if getattr(_in_thread, "of", None) is not self:
            return self.post(call)
        self._call(call, time.monotonic())
        return True

    def later(self, seconds: float, call: Callable[[float], None]) -> None:
        """Make this call after so many seconds, or once the client is closed. In the I/O thread."""
        self._later.append((time.monotonic() + seconds, call))

    def ask(self, message: Request[Answer], *, timeout: float | None = None) -> Future[Answer]:
        """Ask the broker; the future gets the value of its ``ok``, or its error as a ZturboError.

        Args:
            message: the question.
            timeout: seconds to wait for the answer; None for any time.
        """
        future: Future[Answer] = Future()
        self.request(message, _to(future), future, timeout=timeout)
        return future

    def request(
        self,
        message: Request[Any],
        settle: Settle,
        future: Future[Any] | None = None,
        *,
        timeout: float | None = None,
        checked: bool = False,
    ) -> None:
        """As :meth:`ask`, without a future.

        Args:
            message: the question.
            settle: gets the answer or the error.
            future: if it is cancelled, the broker is asked no more.
            timeout: seconds to wait for the answer; None for any time.
            checked: whether its fields were checked, and it is no larger than a message may be.
        """
        self.check_process()
        with self._lock:
            self._ref += 1
            ref = self._ref
        now = time.monotonic()
        if self._stopping:
            settle(None, BrokerUnavailable(CLOSED))
            return
        request = _Request(
            _packed(message.but(ref=ref), checked=checked),
            message.answer(),
            settle,
            future,
            None if timeout is None else now + timeout,
            now,
            isinstance(message, (to_broker.Watch, to_broker.Feed)),
        )

        def start(now: float) -> None:
            self._requests[ref] = request
            self._say(ref, request, now)

        if not self._soon(start):
            settle(None, BrokerUnavailable(CLOSED))

    def hello(self, timeout: float) -> answers.Greeting:
        """Greet the broker; raises BrokerUnavailable or VersionMismatch."""
        message = to_broker.ClientHello(client=self.identity, protocol=PROTOCOL, version=__version__)
        return self.ask(message, timeout=timeout).result()

    def subscribe(self, subscription: Subscription, accepted: Acceptance) -> None:
        """Begin to read a job's results, once the broker has the job.

        Args:
            subscription: the reader's.
            accepted: the broker's answer to the job. It tells where the results are; a reader that may not
                use that asks the broker.
        """
        self.check_process()
        turn = accepted.take_turn()
        subscription.late = not accepted.fresh

        # The answer by a name of its own: with ``accepted`` here, the two would refer to each other.
        def begin(answered: Future[answers.Whereabouts]) -> None:
            if not self._soon(lambda now: self.results.begin(subscription, answered, turn, now)):
                subscription.fail(BrokerUnavailable(CLOSED))

        accepted.add_done_callback(begin)

    def unsubscribe(self, subscription: Subscription, *, tell: bool = False) -> None:
        """Stop reading; ``tell`` the sink how many results were taken. Without effect in a forked child."""
        if not self.forked:
            self.post(lambda now: self.results.end(subscription, tell=tell))

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
        _in_thread.of = self
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
        until = min(self.results.serve(now), self._requests_due(now), self._arrivals.look(now))
        for at, _ in self._later:
            until = min(until, at)
        timeout = max(0.0, until - now) if self._posted.may_sleep() else 0.0
        ready = self._poller.poll(math.ceil(timeout * 1000))
        self._posted.woke()
        now = time.monotonic()
        for socket, _ in ready:
            if socket == self._posted.fd:
                self._posted.read()
            elif socket is self._control:
                self._read_control()
            elif socket is self._control.changes:
                self._control.connected()
            elif isinstance(socket, zmq.Socket) and not socket.closed:
                self.results.read(socket, now)
        for call in self._posted.take():
            self._call(call, now)
        if self._later:
            self._call_due(now)

    def _call_due(self, now: float) -> None:
        due = [call for at, call in self._later if at <= now]
        self._later = [(at, call) for at, call in self._later if at > now]
        for call in due:
            self._call(call, now)

    def _end(self) -> None:
        """Close the sockets; give each caller that waits an error."""
        self._stopping = True
        with self._lock:
            self._over = True
            self._posted.close()
        for call in self._posted.take():
            self._call(call, time.monotonic())
        self._call_due(math.inf)
        for request in list(self._requests.values()):
            request.give(None, BrokerUnavailable(CLOSED))
        self.results.close(BrokerUnavailable(CLOSED))
        self.memory.close()
        self._arrivals.forget()
        self._control.close()
        self._context.term()

    def _call(self, call: Callable[[float], None], now: float) -> None:
        """Make a posted call. An exception of it does not end the thread, for which other callers wait."""
        try:
            call(now)
        except Exception as error:
            self._guard.failed("a call", error)

    def _connect(self, address: str, key: str) -> Dealer:
        """A socket to a sink, which has this public key if there are keys; raises StartError."""
        socket = make(
            self._context,
            zmq.DEALER,
            connect=address,
            identity=self.identity,
            security=self._security,
            server=key,
            arrivals=self._arrivals,
        )
        assert isinstance(socket, Dealer)
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(socket.changes, zmq.POLLIN)
        return socket

    def _disconnect(self, socket: Dealer) -> None:
        """Close a socket to a sink that is gone."""
        self._poller.unregister(socket)
        self._poller.unregister(socket.changes)
        self._arrivals.unfollow(socket)
        socket.close()

    def _say(self, ref: int, request: _Request, now: float) -> None:
        request.again = now + REPEAT
        request.tries += 1
        frames = request.frames
        if request.tries % WHOLE:
            frames = self.memory.to_broker(frames)
        try:
            send_frames(self._control, frames)
            request.unsent = False
        except zmq.Again:
            request.again, request.unsent = now + 0.05, True

    def _requests_due(self, now: float) -> float:
        if self._reason and not any(request.waits for request in self._requests.values()):
            self._reason = ""
        connected = self._control.stands or self._control.connected()
        if self._connections != self._control.connections:
            self._connections = self._control.connections
            for request in self._requests.values():
                if request.unsent:
                    request.again = min(request.again, now)
        until = math.inf
        if self._requests or self._silent_since != math.inf:
            until = self._watch_broker(now, connected)
        if not connected and self._control.is_final:
            denial = f"the broker at {self.broker} does not let this client in: {self._control.denial}"
            while self._requests:  # one that is refused may make room for the next one
                self._requests.popitem()[1].give(None, AccessDenied(denial))
        for ref, request in list(self._requests.items()):
            if request.deadline is not None and now >= request.deadline:
                del self._requests[ref]
                request.give(None, BrokerUnavailable(self._unanswered(request)))
                continue
            if request.cancelled:
                del self._requests[ref]
                continue
            if now >= request.again:
                self._say(ref, request, now)
        for request in self._requests.values():  # also those that were made meanwhile
            until = min(until, request.again)
            if request.deadline is not None:
                until = min(until, request.deadline)
        return until

    def _watch_broker(self, now: float, connected: bool) -> float:
        """Find out what is the matter while the broker owes an answer, and there is no connection to it or no
        answer in time. Returns when to look again."""
        silent = bool(self._requests) and (not connected or self._heard + REPEAT < now)
        if silent and connected:
            silent = any(not one.patient and one.asked + REPEAT < now for one in self._requests.values())
        if not silent and self._silent_since == math.inf:
            return math.inf
        self._silent_since = min(self._silent_since, now) if silent else math.inf
        seen = self._examiner.news(now, answers=not silent)
        if self._silent_since + QUIET <= now and (seen or not self._away):
            self._complain([request.deadline for request in self._requests.values()], now)
        return self._examiner.deadline()

    def _complain(self, deadlines: list[float | None], now: float) -> None:
        """Log that the broker does not answer, and what is seen, unless an error is about to tell it."""
        ends = [end for end in deadlines if end is not None]
        left = max(ends) - now if len(ends) == len(deadlines) else math.inf
        if left < QUIET:
            return
        self._away = True
        how_long = "until it does" if left == math.inf else f"for {left:.0f} s more"
        seen = f": {self._examiner.seen}" if self._examiner.seen else ""
        text = "the broker at %s does not answer%s; the client asks again %s"
        log.warning(text, self.broker, seen, how_long)

    def _unanswered(self, request: _Request) -> str:
        if request.waits + QUIET > time.monotonic():
            return (
                f"the broker at {self.broker} waits, and has not taken this request in time: {self._reason}. "
                "It may still take it later"
            )
        seen = f". Seen there: {self._examiner.seen}" if self._examiner.seen else ""
        return (
            f"no broker answers at {self.broker}: start one with 'zturbo up FILE', or name another address, "
            f"with --broker or in $ZTURBO_BROKER{seen}"
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
            if not has_more(self._control):
                return

    def _hear(self, message: Message) -> None:
        """Handle a message of the broker."""
        self._heard = time.monotonic()
        if self._away:
            self._away = False
            log.warning("the broker at %s answers again", self.broker)
        if isinstance(message, from_broker.Wait):
            self._waits(message)
            return
        if isinstance(message, from_broker.Moved):
            self.results.moved(message.jobs, self._heard)
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
            request.give(None, kind(message.message))
            return
        try:
            value = request.answer.check(message.value)
        except DecodeError as error:
            request.give(None, DecodeError(f"the broker's answer cannot be read: {error}"))
        else:
            request.give(value)

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
