"""When a sink gives no credit for a moment, so that the reader of its results catches up.

Results that are read once stay in memory until they are taken. Where the stages are faster than the reader,
memory fills, and the oldest results move to the disk. That costs many times what all else costs for a large
result, so it slows down the reader, too. A pause of the stages costs nothing. But they may work for other
jobs as well, and the reader may have gone. So a pause is short. If it has not helped, the next one comes
after a rest, which is twice as long each time in a row.
"""

from __future__ import annotations

__all__ = ["HIGH", "LONGEST", "LOW", "MOST_REST", "REST", "Pace"]

HIGH = 80 << 20
"""Bytes of results in memory above which a pause begins. What is under way by then comes on top."""

LOW = 56 << 20
"""Bytes at which it ends."""

LONGEST = 0.25
"""Seconds that a pause takes at most."""

REST, MOST_REST = 2.0, 64.0
"""Seconds without a pause after one that has not helped: the first time, and longest."""


class Pace:
    """The pauses of one sink.

    Attributes:
        nbytes: bytes of results in memory that no reader was given; its owner sets it.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._since: float | None = None
        """When the pause began; None if there is none."""
        self._rest_until = 0.0
        self._rest = REST

    def pauses(self, now: float) -> bool:
        """Whether no credit is to be given now."""
        if self._since is None:
            if self.nbytes > HIGH and now >= self._rest_until:
                self._since = now
        elif self.nbytes <= LOW:
            self._since, self._rest = None, REST
        elif now >= self._since + LONGEST:
            self._since = None
            if self.nbytes > HIGH:
                self._rest_until, self._rest = now + self._rest, min(MOST_REST, 2 * self._rest)
        return self._since is not None

    def deadline(self) -> float | None:
        """When the pause ends at the latest."""
        return None if self._since is None else self._since + LONGEST
