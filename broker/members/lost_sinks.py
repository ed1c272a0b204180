"""Sinks that were lost and may come back."""

from __future__ import annotations

__all__ = ["LostSinks"]

PATIENCE = 60.0
"""Seconds that a lost sink has to come back while its node is heard."""


class LostSinks:
    """Sinks that were lost and may come back with their spool.

    One that is started again has time for it while its node is heard, up to :data:`PATIENCE`; if the node
    starts another in its place, with an empty spool, there is nothing to wait for.

    Args:
        grace: seconds that they have for it at least, and after the node was last heard.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self._since: dict[bytes, float] = {}
        """Lost spool -> when that was."""
        self._seats: dict[bytes, tuple[bytes, str]] = {}
        """Spool -> (node, name) of its sink."""
        self._heard: dict[bytes, float] = {}
        """Node of a lost sink -> when it was last heard."""
        self._replaced: set[bytes] = set()
        """Lost spools whose seat another has."""

    def __contains__(self, spool: bytes) -> bool:
        return spool in self._since

    def seen(self, spool: bytes, node: bytes, name: str) -> None:
        """A sink with this spool says hello."""
        seat = self._seats[spool] = (node, name)
        self._replaced.update(old for old in self._since if old != spool and self._seats.get(old) == seat)

    def hear(self, node: bytes, now: float) -> None:
        """A node gave a sign of life."""
        if node in self._heard:
            self._heard[node] = now

    def add(self, spool: bytes, now: float) -> None:
        """The sink with this spool is gone."""
        self._since.setdefault(spool, now)
        if spool in self._seats:
            self._heard.setdefault(self._seats[spool][0], now)

    def back(self, spool: bytes) -> None:
        """It is back."""
        self._since.pop(spool, None)
        self._replaced.discard(spool)
        here = {self._seats[lost][0] for lost in self._since if lost in self._seats}
        self._heard = {node: at for node, at in self._heard.items() if node in here}

    def _until(self, spool: bytes) -> float:
        since = self._since[spool]
        if spool in self._replaced:
            return since
        heard = self._heard.get(self._seats.get(spool, (b"", ""))[0], since)
        return max(since + self.grace, min(heard + self.grace, since + PATIENCE))

    def given_up(self, now: float) -> list[bytes]:
        """Those whose time is over, each once."""
        over = [spool for spool in self._since if self._until(spool) <= now]
        for spool in over:
            self.back(spool)
            self._seats.pop(spool, None)
        return over

    def deadline(self) -> float | None:
        """When the next one's time is over, as far as that is known."""
        return min(map(self._until, self._since), default=None)
