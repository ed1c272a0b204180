"""Results that a sink has sent to clients by reference, until they have them.

No ack tells that a client has opened what it was referred to. But its next question does: it names the first
result that it has not got. Until then the sink keeps the views. A client that asks for nothing more is gone,
or has got all: so they are not kept for long.
"""

from __future__ import annotations

from collections import deque

from zturbo.wire.messages import Buffer

__all__ = ["Lent"]

MOST_BYTES = 256 << 20
"""Bytes that are lent at once; other results are sent in messages."""

KEEP = 2.0
"""Seconds after which a client that has not opened what it was sent asks for it again, and gets it."""


ReaderId = tuple[bytes, bytes, int]
"""The client, the job, and the reader's token: a client may have several readers of one job."""


class Lent:
    """The views that are kept for clients."""

    def __init__(self) -> None:
        self._lent: dict[ReaderId, deque[tuple[int, float, int, list[Buffer]]]] = {}
        """Reader -> of each message, in order: its first result, when it was sent, bytes, frames."""
        self.nbytes = 0

    @property
    def full(self) -> bool:
        """Whether nothing more may be lent now."""
        return self.nbytes >= MOST_BYTES

    def lend(self, reader: ReaderId, first: int, frames: list[Buffer], now: float) -> None:
        """Keep the frames of a message for a reader."""
        nbytes = sum(memoryview(frame).nbytes for frame in frames)
        self._lent.setdefault(reader, deque()).append((first, now, nbytes, frames))
        self.nbytes += nbytes

    def got(self, reader: ReaderId, first: int) -> None:
        """A reader has all results before this one."""
        if reader in self._lent:
            self._forget(reader, first, 0.0)

    def _forget(self, key: ReaderId, first: int, before: float) -> None:
        lent = self._lent[key]
        while lent and (lent[0][0] < first or lent[0][1] < before):
            self.nbytes -= lent.popleft()[2]
        if not lent:
            del self._lent[key]

    def trim(self, now: float) -> None:
        """Let go of what was sent a while ago."""
        for key in list(self._lent):
            self._forget(key, 0, now - KEEP)
