"""The client's machine for one job's results: takes them once and in order, asks for the rest.

It asks with an absolute index and limit, so that a lost or doubled question does no harm. A message
that begins above the next index shows a loss: then it asks again, from that index.
"""

from __future__ import annotations

import math

from zturbo.wire.messages import PUSHED_BYTES, PUSHED_RESULTS, Results, Want

__all__ = ["ResultStream"]

AGAIN_AFTER = 1.0
"""Seconds of silence after which it asks again."""

WINDOW_BYTES = 64 << 20
"""Bytes of results that may be on the way or wait for the caller."""

WINDOW_MAX = 32_768
"""Results that may be on the way or wait for the caller."""

WINDOW_MIN = 4

SAY_BYTES = WINDOW_BYTES // 4
"""Bytes of results after which the sink is told that they have come: it keeps what it has lent until then."""


class ResultStream:
    """Results of one job, as one reader sees them.

    Args:
        job: id of the job.
        token: of this reader; a sink serves the reader with the highest. 0 until the broker gives one.
        first: index of the first result wanted; -1 to go on at the sink's cursor.
        once: the sink may let go of what the caller has taken.
    """

    def __init__(self, job: bytes, token: int, first: int, *, once: bool = False) -> None:
        self.job = job
        self._once = once
        self.token = token
        self.next = first
        """Index of the next result; -1 until the sink says."""
        self.taken = max(0, first)
        """Results below this index have been taken by the caller."""
        self.total: int | None = None
        self.problem: str | None = None
        self.window = 64
        self._told = -1
        self._ask_at = -math.inf
        self._quiet_until = -math.inf
        self._missed = -1
        """Index of the last result that was found missing, and asked for at once."""
        self._unsaid = 0
        """Bytes that have come since the last question."""
        self._lent = False
        """Whether large results have come since then, which the sink may have lent."""
        self._bytes = 0
        self._count = 0

    @property
    def complete(self) -> bool:
        """Whether all results have come."""
        return self.total is not None and self.next >= self.total

    @property
    def small(self) -> bool:
        """Whether a sink sends results like those that have come before it is asked for them: few, and small
        all together."""
        return self._count <= PUSHED_RESULTS and self._bytes <= PUSHED_BYTES

    @property
    def drained(self) -> bool:
        """Whether all that was asked for has come, and the caller has taken so much of it that there is more
        to ask for. Nothing is on its way then that would make anybody call :meth:`want`. The caller's thread
        may read it: the answer may be an old one, and the next one is not."""
        if self.complete or self.problem is not None:
            return False
        return self.next >= self._told >= 0 and self._has_room(self.taken + self.window)

    def _has_room(self, limit: int) -> bool:
        """Whether this limit is so far above the one that was told that it is worth a question."""
        return limit > self._told and 4 * (limit - self._told) >= self.window

    def results(self, message: Results, nbytes: int, now: float) -> int | None:
        """Take a sink's message. Returns how many of its first results are copies; None to drop it all."""
        if message.job != self.job or message.token != self.token:
            return None
        if message.problem is not None:
            self.problem = message.problem
            return None
        if self.next < 0:
            self.next = self.taken = message.first
        if message.first > self.next:
            if self._missed != self.next:  # once: all that was sent behind it comes again with it
                self._missed = self.next
                self._ask_at = min(self._ask_at, now)
            return None
        self._ask_at = now + AGAIN_AFTER
        if message.total is not None and self.next >= message.first + message.n:
            self.total = message.total
        skip = self.next - message.first
        if skip >= message.n:
            return None
        self.next = message.first + message.n
        if message.total is not None:
            self.total = message.total
        self._count += message.n
        self._bytes += nbytes
        self._unsaid += nbytes
        self._lent = self._lent or bool(message.buffers)
        self.window = max(WINDOW_MIN, min(WINDOW_MAX, WINDOW_BYTES * self._count // max(1, self._bytes)))
        return skip

    def take(self, n: int) -> None:
        """The caller has taken n more results."""
        self.taken += n

    def turn(self, token: int) -> None:
        """Take the token that the broker gives, and only the first one.

        A later token is higher than that of any reader that came meanwhile. It would take the results
        from that reader.
        """
        self.token = self.token or token

    def quiet_until(self, at: float) -> None:
        """Results are about to come unasked: ask for none before this time."""
        self._quiet_until = at

    def restart(self) -> None:
        """Ask anew: the results have moved to another sink, or the connection is new."""
        self._told = self._missed = -1
        self._ask_at = -math.inf
        self.problem = None

    def want(self, now: float) -> Want | None:
        """The question that is due now; None if there is none."""
        if now < self._quiet_until or self.problem is not None or self.complete:
            return None
        limit = self.taken + self.window
        due = now >= self._ask_at
        if not due and not self._has_room(limit):
            if self._unsaid < SAY_BYTES:
                return None
            # It has got these, and may have no more. The same limit again would mean that results are lost.
            limit = max(self.next, self._told - 1)
        else:
            limit = self._told = max(self._told, limit)
        self._unsaid, self._lent = 0, False
        self._ask_at = now + AGAIN_AFTER
        return Want(self.job, self.token, self.next, limit, self.taken, self._once)

    def last_word(self, *, tell: bool) -> Want | None:
        """A last question, for no results; None if there is nothing to say.

        Args:
            tell: it tells the sink how far the caller has come. Else it is said only after large results,
                which the sink keeps in shared memory until it hears that they have come.
        """
        if self._told < 0 or self.problem is not None or not (tell or self._lent):
            return None
        have = self.next if self.next >= 0 else self._told
        return Want(self.job, self.token, have, have, self.taken if tell else 0, self._once)

    def deadline(self) -> float | None:
        """When to ask again."""
        done = self.complete or self.problem is not None
        return None if done else max(self._ask_at, self._quiet_until)
