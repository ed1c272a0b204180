"""Sinks that were lost and may come back: how long the broker waits for them."""

from __future__ import annotations

__all__ = ["LostSinks"]

PATIENCE = 60.0
"""Seconds that a lost sink has to come back while its node is heard."""


class LostSinks:
    """Sinks that were lost and may come back with their spool.

    The broker waits for a sink as long as it hears the sink's node, up to :data:`PATIENCE`: the node starts
    it again. If the node starts a sink with another spool in its seat, the broker waits no longer.

    Args:
        grace: seconds that the broker waits at least, and seconds after it last heard the node.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self._since: dict[bytes, float] = {}
        """Lost spool -> when it was lost."""
        self._seats: dict[bytes, tuple[bytes, str]] = {}
        """Spool -> (node, name) of its sink."""
        self._heard: dict[bytes, float] = {}
        """Node of a lost sink -> when it was last heard."""
        self._replaced: set[bytes] = set()
        """Lost spools whose seat another sink has."""

    def __contains__(self, spool: bytes) -> bool:
        return spool in self._since

    def seen(self, spool: bytes, node: bytes, name: str) -> None:
        """A sink with this spool says hello."""
        seat = self._seats[spool] = (node, name)
        self._replaced.update(old for old in self._since if old != spool and self._seats.get(old) == seat)

    def hear(self, node: bytes, now: float) -> None:
        """A node was heard."""
        if node in self._heard:
            self._heard[node] = now

    def add(self, spool: bytes, now: float) -> None:
        """The sink with this spool is gone."""
        self._since.setdefault(spool, now)
        if spool in self._seats:
            self._heard.setdefault(self._seats[spool][0], now)

    def back(self, spool: bytes) -> None:
        """The sink with this spool is back."""
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
        """Spools that are waited for no longer, each once."""
        over = [spool for spool in self._since if self._until(spool) <= now]
        for spool in over:
            self.back(spool)
            self._seats.pop(spool, None)
        return over

    def deadline(self) -> float | None:
        """When the next one is given up, as far as is known now."""
        return min(map(self._until, self._since), default=None)
