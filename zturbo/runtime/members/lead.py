"""Which of a worker's two threads runs the loop: the one with the user's code, whenever it has none to run.

So a task is read, run and sent on by one thread, without a hand-over. While the code runs, the other thread
follows: it makes a round of the loop now and then, and leads if the code runs for long. So statements, views
and leases go on. (Leader/Followers: Schmidt, Stal, Rohnert, Buschmann, Pattern-Oriented Software
Architecture 2, 2000.)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Protocol

__all__ = ["LONG", "STEP", "Lead", "LedLoop"]

STEP = 0.004
"""Seconds that the code runs before the follower makes a round; each next one comes after twice as long."""

LONG = 0.064
"""Seconds that the code runs before the follower leads until the code ends. It looks at least so often."""


class LedLoop(Protocol):
    """The loop that one of them runs."""

    stopping: bool

    def wake(self) -> None:
        """End the wait of a round. Thread-safe."""


class Lead:
    """The lead, which one thread has at a time.

    Args:
        loop: what the leader runs.
        turn: makes one round of it, which waits for so many seconds at most; with 0 it does not wait.
        go_on: does what was handed to it, without a look whether more has come.

    Attributes:
        by_code: whether the code's thread runs the loop now.
    """

    def __init__(self, loop: LedLoop, turn: Callable[[float], None], go_on: Callable[[], None]) -> None:
        self._loop = loop
        self._turn = turn
        self._go_on = go_on
        self.by_code = False
        self._baton = threading.Lock()
        """Whoever has it runs the loop."""
        self._wanted = False
        """Whether the code's thread waits for it."""
        self._leads = False
        """Whether the code's thread has it, and waits for work."""
        self._since = -math.inf
        """Since when the code runs: then the code's thread gave the lead away."""
        self._begun = 0
        """How often it has done so."""
        self._dozes = False
        """Whether the follower waits for that."""
        self._stays = False
        """Whether the follower leads until the code's thread wants to."""
        self._calls: SimpleQueue[None] = SimpleQueue()

    # -- the code's thread --------------------------------------------------------------------
    def lead(self, enough: Callable[[], bool], longest: float = math.inf) -> None:
        """Run the loop until there is enough, or the loop stops, or for so many seconds if nothing comes."""
        if not self._baton.acquire(blocking=False):
            self._wanted = True
            self._loop.wake()
            self._baton.acquire()
        self._leads, self._wanted, self.by_code = True, False, True
        until = math.inf if longest == math.inf else monotonic() + longest
        try:
            self._go_on()  # first what this thread has made
            while not (enough() or self._loop.stopping):
                left = math.inf if until == math.inf else until - monotonic()
                if left <= 0.0:
                    return
                self._turn(left)
        finally:
            self._since = monotonic()
            self._begun += 1
            self._leads = self.by_code = False
            self._baton.release()
            if self._dozes:
                self._call()

    def turn(self) -> None:
        """Make a round amid the code, unless the follower leads."""
        if self._baton.acquire(blocking=False):
            self.by_code = True
            try:
                self._turn(0.0)
            finally:
                self._since = monotonic()
                self.by_code = False
                self._baton.release()

    def hand_over(self) -> None:
        """Let the follower lead at once, if it does not."""
        if not self._stays:
            self._since = -math.inf
            self._call()

    def _call(self) -> None:
        self._dozes = False
        self._calls.put(None)

    # -- the other thread ---------------------------------------------------------------------
    def follow(self) -> None:
        """Run the loop where the code's thread does not, until the loop stops."""
        loop, seen, pause = self._loop, -1, STEP
        while not loop.stopping:
            begun = self._begun
            if self._leads or self._wanted:
                if begun == seen and not self._wanted:
                    self._doze(begun)
                    pause = STEP
                else:
                    self._wait(pause)
                    pause = min(LONG, 2 * pause)
                seen = begun
                continue
            ran = monotonic() - self._since
            if ran < STEP:
                self._wait(max(pause, STEP - ran))
                pause = min(LONG, 2 * pause)
            elif ran >= LONG:
                self._stays = True
                self._rounds(math.inf)
                self._stays = False
                pause = STEP
            else:
                self._rounds(0.0)
                self._wait(ran)

    def _rounds(self, longest: float) -> None:
        """One round, or rounds until the code's thread wants to lead."""
        if not self._baton.acquire(blocking=False):
            return
        try:
            while True:
                self._turn(longest)
                if not longest or self._wanted or self._loop.stopping:
                    return
        finally:
            self._baton.release()

    def _doze(self, begun: int) -> None:
        """Wait until the code's thread gives the lead away, since it has run no code for a while."""
        self._dozes = True
        if begun == self._begun and not self._loop.stopping:
            self._calls.get()
        self._dozes = False

    def _wait(self, seconds: float) -> None:
        try:
            self._calls.get(timeout=seconds)
        except Empty:
            pass
