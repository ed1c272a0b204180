"""Who wants to know when jobs end: one question to the broker for all of them, and a thread for callbacks.

The broker answers when one of the jobs has ended; until then the question is repeated as every other, so that
it outlives a broker's restart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from zturbo.client.io import CLOSED, ClientIO
from zturbo.errors import BrokerUnavailable, JobFailed, UsageError, by_name
from zturbo.errortext import render
from zturbo.wire.control import answers, to_broker

__all__ = ["Callbacks", "Watch", "ending"]

log = logging.getLogger("zturbo.client")

Ended = Callable[[BaseException | None], None]
"""Called in the I/O thread: None if the job is done, else what ended it."""

JOIN = 5.0
"""Seconds that a client that is closed waits for callbacks that are under way."""


def ending(state: str, kind: str | None, text: str | None) -> BaseException | None:
    """What ended a job, of what the broker says of it; None if it is done."""
    if state == "done":
        return None
    if state == "unknown":
        return UsageError("no such job, or its results are not kept any more")
    return by_name(kind or "", JobFailed)(text or state)


class Watch:
    """Tells when jobs end.

    Args:
        io: the client's I/O thread, in which all of this happens.
    """

    def __init__(self, io: ClientIO) -> None:
        self._io = io
        self._jobs: dict[bytes, list[Ended]] = {}
        self._asked: Future[answers.Ended] | None = None
        self._due = False

    def add(self, job: bytes, ended: Ended) -> None:
        """From any thread: call this once when the job has ended, or the client is closed."""
        if self._io.closed:
            ended(BrokerUnavailable(CLOSED))
            return

        def start(now: float) -> None:
            self._jobs.setdefault(job, []).append(ended)
            self._ask_soon()

        if not self._io.post(start):
            ended(BrokerUnavailable(CLOSED))

    def _ask_soon(self) -> None:
        if not self._due:
            self._due = True
            self._io.post(self._ask)

    def _ask(self, now: float) -> None:
        """Ask of all that are watched now; the broker keeps a client's last question alone."""
        self._due = False
        if self._asked is not None:
            self._asked.cancel()
        self._asked = self._io.ask(to_broker.Watch(jobs=tuple(self._jobs)))
        self._asked.add_done_callback(self._answered)

    def _answered(self, future: Future[answers.Ended]) -> None:
        if future.cancelled():
            return
        self._asked = None
        error = future.exception()
        told: list[tuple[bytes, BaseException | None]]
        if error is not None:
            told = [(job, error) for job in self._jobs]
        else:
            told = [(job, ending(state, kind, text)) for job, state, kind, text in future.result()]
        for job, outcome in told:
            for ended in self._jobs.pop(job, ()):
                ended(outcome)
        if self._jobs:
            self._ask_soon()


class Callbacks:
    """A thread that calls users' callbacks, one after the other; it begins with the first."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def put(self, call: Callable[[], object]) -> None:
        """Let it be called; what it raises is logged."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="zturbo-callbacks", daemon=True)
                self._thread.start()
        self._todo.put(call)

    def _run(self) -> None:
        while (call := self._todo.get()) is not None:
            try:
                call()
            except BaseException as error:  # a callback is the user's code, and others are to be called
                log.error("a callback raised\n%s", render(error).traceback)
            del call  # it may be all that keeps a client that nobody has any more

    def stop(self) -> None:
        """Call what waits, then end, without waiting for that."""
        self._closed = True
        self._todo.put(None)

    def close(self) -> None:
        """Call what waits, then end."""
        with self._lock:  # so that no thread is being started
            self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN)
