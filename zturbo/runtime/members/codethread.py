"""A worker's main thread: it runs the stage's code on work, and the loop of its process while it has no work.

The stage's code may set signal handlers that raise in this thread. Then the other thread alone runs the loop,
since an exception would break it.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from zturbo.core.effects import EndJob, Work
from zturbo.core.worker.produced import Produced
from zturbo.runtime.code.batching import BatchRunner
from zturbo.runtime.code.laps import HELD, INPUT, OWN, Laps
from zturbo.runtime.code.recorder import REST
from zturbo.runtime.code.runner import Runner
from zturbo.runtime.members.lead import Lead, LedLoop

if TYPE_CHECKING:
    from zturbo.runtime.code.overlapping import AsyncRunner

__all__ = ["CodeThread"]

log = logging.getLogger("zturbo.worker")

UNSEEN = 16
"""Hand-overs that this thread may be ahead of the loop, before it is paused."""

BESIDE = 0.002
"""Seconds a task takes from which on the other thread runs the loop, beside the code."""

HOLD = 0.1
"""Seconds for which code without room is held, before it is looked whether its job goes on."""

RAISING = (
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGQUIT,
    signal.SIGTERM,
)
"""Signals whose handlers programs let raise an exception in the main thread."""

getsignal: Callable[[int], Any] = sys.modules["_signal"].getsignal
"""That of :mod:`signal` makes enums, which takes a while."""


class Loop(LedLoop, Protocol):
    """The loop of the process."""

    waited: float
    """Seconds for which it has waited in all."""

    def post(self, call: Callable[[float], None]) -> None:
        """Let the loop make this call, with the time. Thread-safe."""


class CodeThread:
    """The main thread, and how the loop and it hand things to each other.

    Args:
        name: of the stage, for logs.
        loop: the loop of the process.
        turn: makes a round of it, which waits for so many seconds at most.
        go_on: lets it do what was handed to it, without a look at the sockets.
        take: takes what was produced; called by the loop.
        pressed: whether the code is to give no more, since nothing can be sent.
        epochs: job -> its present epoch here.
        laps: what this thread spends its time on.

    Attributes:
        works: work for this thread.
        lead: which thread runs the loop.
        may_lead: whether this thread may run it.
        handlers: signal -> the handler that zturbo has set.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        *,
        turn: Callable[[float], None],
        go_on: Callable[[], None],
        take: Callable[[list[Produced], float], None],
        pressed: Callable[[], bool],
        epochs: dict[bytes, int],
        laps: Laps,
    ) -> None:
        self._name = name
        self._loop = loop
        self._take = take
        self._pressed = pressed
        self._epochs = epochs
        self.laps = laps
        self.works: SimpleQueue[Work | EndJob | None] = SimpleQueue()
        self.lead = Lead(loop, turn, go_on)
        self.may_lead = False
        self.handlers: dict[int, Any] = {}
        self._runner: Runner | BatchRunner | AsyncRunner | None = None
        self._room = threading.Event()
        self._room.set()
        self._ended = threading.Event()
        self._waited: float | None = None
        """For how long the loop waited while this thread ran it last; None if it did not run it."""
        self._resting = False
        """Whether it gives the last outputs before it waits for work."""
        self._posted = 0
        """How often it has handed outputs over; it alone counts that."""
        self._taken = 0
        """How often the loop has taken them; it alone counts that."""

    # -- this thread --------------------------------------------------------------------------
    def run(self, runner: Runner | BatchRunner | AsyncRunner) -> None:
        """Run work, until told to stop."""
        self._runner = runner
        # The others have waits of their own: for more tasks of a batch, for what a coroutine waits for.
        self.may_lead &= isinstance(runner, Runner)
        try:
            if isinstance(runner, (Runner, BatchRunner)):
                self._run(runner)
            else:
                runner.serve(self.works)
        finally:
            self._ended.set()

    def _run(self, runner: Runner | BatchRunner) -> None:
        works = self.works
        while True:
            item = self._next_work(runner) if works.empty() else works.get()
            if item is None:
                return
            if type(item) is Work:
                runner.run(item)
            else:
                assert isinstance(item, EndJob)
                runner.job_ended(item.job)

    def _next_work(self, runner: Runner | BatchRunner) -> Work | EndJob | None:
        """Wait for the next work. A batch that is not full is run after a while without more tasks."""
        wait = runner.wait()
        if wait is not None:
            runner.flush()
            try:
                return self._get(timeout=wait)
            except Empty:
                pass
        self._resting = True
        runner.idle()
        self._resting = False
        return self._get()

    def _get(self, timeout: float | None = None) -> Work | EndJob | None:
        """The next work. An error of the stage's own signal handler does not end the wait."""
        laps = self.laps
        laps.turn(INPUT)
        pause = REST if timeout is None and laps.owes else None
        while True:
            try:
                work = self._await(pause or timeout)
                laps.turn(OWN, self._waited)
                return work
            except Empty:
                if pause is not None:  # nothing comes: the trace tells of the last work now
                    pause = None
                    laps.turn(INPUT, self._waited)
                    continue
                laps.turn(OWN, self._waited)
                raise
            except BaseException as error:
                assert self._runner is not None
                if isinstance(error, self._runner.host.context.through):
                    raise
                log.warning("%s: a signal handler raised while no task ran", self._name, exc_info=True)

    def _await(self, timeout: float | None) -> Work | EndJob | None:
        """The next item; Empty is raised after so many seconds. The loop runs here meanwhile, if it may."""
        if self._leads():
            before = self._loop.waited
            self.lead.lead(self._has_work, math.inf if timeout is None else timeout)
            self._waited = self._loop.waited - before
            timeout = None if self._loop.stopping else 0.0
        else:
            self._waited = None
            self.lead.hand_over()
        return self.works.get(timeout=timeout)

    def _has_work(self) -> bool:
        return not self.works.empty()

    def _leads(self) -> bool:
        """Whether this thread may run the loop now: no signal handler of the stage's code can raise there."""
        if not self.may_lead:
            return False
        ours = self.handlers
        for number in RAISING:
            handler = getsignal(number)
            if callable(handler) and handler is not ours.get(number):
                return False
        return True

    def post(self, given: list[Produced]) -> None:
        """Hand over what was produced."""
        self._posted += 1
        self._loop.post(lambda now: self._hand_on(given, now))

    def free(self) -> bool:
        """Whether the code may go on. If not, :meth:`make_room` is awaited."""
        if self._has_room(UNSEEN):
            return True
        self._room.clear()
        return self._has_room(UNSEEN)

    def _has_room(self, ahead: int) -> bool:
        """Whether this thread is at most so far ahead, and what it makes can be sent."""
        return self._posted - self._taken <= ahead and not self._pressed()

    def give(self, given: list[Produced]) -> None:
        """Hand over what was produced, and wait until the code may go on."""
        self.post(given)
        if not self._resting:
            if self._leads() and not _slow(given):
                self.lead.turn()
            else:
                self.lead.hand_over()
        if self.free():
            return
        before = self.laps.turn(HELD)
        if not (leads := self._leads()):
            self.lead.hand_over()
        while not self.free():
            if self._loop.stopping or all(self._epochs.get(one.job) != one.epoch for one in given):
                break
            if leads:
                self.lead.lead(self.free, HOLD)
            else:
                self._room.wait(HOLD)
        self.laps.turn(before)

    # -- the loop -----------------------------------------------------------------------------
    def _hand_on(self, given: list[Produced], now: float) -> None:
        self._taken += 1
        self._take(given, now)

    def make_room(self) -> bool:
        """Let the code go on if it waits and there is room. Returns whether it was so."""
        if self._room.is_set() or not self._has_room(UNSEEN // 2):
            return False
        self._room.set()
        return True

    def stop(self) -> None:
        """Let it end after the task that runs."""
        self._room.set()
        self.works.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, for so long at most. Returns whether it has."""
        return self._ended.wait(seconds)


def _slow(given: Sequence[Produced]) -> bool:
    """Whether tasks take so long that the other thread is to send what they give, while the next one runs."""
    return any(one.tasks and one.seconds >= BESIDE * one.tasks for one in given)
