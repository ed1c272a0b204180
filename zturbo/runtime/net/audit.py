"""Lines about those who were not let in: few, however often they try, and without any key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Audit"]

QUIET = 10.0
"""Seconds in which a line about one kind of event from one address is not repeated."""

KINDS = 256
"""Most (kind, address) that are told apart; further ones count as from one address."""


class Audit:
    """Tells of events, one line for each kind and address in :data:`QUIET` seconds. Any thread may call it.

    Args:
        say: is given each line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}
        """(kind, address) -> when it was last told, and how often it has come since."""
        self.count = 0
        """How often anybody was not let in."""

    def note(self, kind: str, address: str, now: float | None = None) -> None:
        """An event.

        Args:
            kind: a sentence without a key, a payload, or anything else that its sender has chosen.
            address: where it is from; empty if that is not known.
            now: monotonic seconds; None for the present.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            self.count += 1
            key = (kind, address)
            if key not in self._seen and len(self._seen) >= KINDS:
                self._seen = {old: seen for old, seen in self._seen.items() if now - seen[0] < QUIET}
                if len(self._seen) >= KINDS:
                    key = (kind, "many addresses")
            last, missed = self._seen.get(key, (float("-inf"), 0))
            if now - last < QUIET:
                self._seen[key] = (last, missed + 1)
                return
            self._seen[key] = (now, 0)
        where = f" from {key[1]}" if key[1] else ""
        more = f" ({missed} more since the last line)" if missed else ""
        self._say(f"refused{where}: {kind}{more}")
