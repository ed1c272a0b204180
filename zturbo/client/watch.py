"""The ends of jobs: one question to the broker for all jobs that are waited for, and a thread for callbacks.

The broker answers when one of the jobs has ended. Until then the client repeats the question, as it does with
each request, so that it outlives a broker's restart.
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
"""Called in the I/O thread, with None if the job is done, else with the error that ended it."""

JOIN = 5.0
"""Seconds for which closing a client waits for its callbacks."""


def ending(state: str, kind: str | None, text: str | None) -> BaseException | None:
    """The error that ended a job, made of the broker's answer; None if the job is done."""
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
        """Call ``ended`` once when the job has ended, or when the client is closed. From any thread."""
        if self._io.closed:
            ended(BrokerUnavailable(CLOSED))
            return

        def start(now: float) -> None:
            if self._io.results.has_ended(job):
                ended(None)
                return
            self._jobs.setdefault(job, []).append(ended)
            self._ask_soon()

        if not self._io.post(start):
            ended(BrokerUnavailable(CLOSED))

    def done(self, job: bytes) -> None:
        """This job is done: its results are here. In the I/O thread."""
        for ended in self._jobs.pop(job, ()):
            ended(None)

    def _ask_soon(self) -> None:
        if not self._due:
            self._due = True
            self._io.post(self._ask)

    def _ask(self, now: float) -> None:
        """Ask about all jobs that are watched now. It replaces the question before: the broker keeps one."""
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
    """A thread that calls users' callbacks, one after the other. It starts at the first callback."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def put(self, call: Callable[[], object]) -> None:
        """Let the thread make this call. An exception of it is logged."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="zturbo-callbacks", daemon=True)
                self._thread.start()
        self._todo.put(call)

    def _run(self) -> None:
        while (call := self._todo.get()) is not None:
            try:
                call()
            except BaseException as error:  # a callback is the user's code; the others go on
                log.error("a callback raised\n%s", render(error).traceback)
            del call  # it may be the last reference to a client that the program has dropped

    def stop(self) -> None:
        """Let the thread make the calls that wait and end. Does not wait for it."""
        self._closed = True
        self._todo.put(None)

    def close(self) -> None:
        """Let the thread make the calls that wait and end, and wait for it."""
        with self._lock:  # so that no thread is just being started
            self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN)
