"""Lines about those who were not let in, and handshakes that ended early: few lines, and none has a key."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable

__all__ = ["ENDED", "MANY", "Audit"]

log = logging.getLogger("zturbo")

QUIET = 10.0
"""Seconds in which a line about one kind of event from one address is not repeated."""

KINDS = 256
"""Most (kind, address) that are told apart; further ones count as from one address."""

MANY = 20
"""Connections of this host that end during their handshakes within :data:`QUIET` seconds, and are told of."""

ENDED = "ended during its handshake, before it showed a key of this network"


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
        self.ended = 0
        """How many connections ended during their handshakes, though nobody refused them."""
        self._early: tuple[float, int] = (float("-inf"), 0)
        """When this host's first of these came in the last :data:`QUIET` seconds, and how many since."""

    def note(self, kind: str, address: str, now: float | None = None) -> None:
        """An event.

        Args:
            kind: a sentence without a key, a payload, or anything else that its sender has chosen.
            address: where it is from; empty if that is not known.
            now: monotonic seconds; None for the present.
        """
        with self._lock:
            self.count += 1
            told = self._take(kind, address, time.monotonic() if now is None else now)
        if told is not None:
            where, missed = told
            self._say(f"refused{f' from {where}' if where else ''}: {kind}{_more(missed)}")

    def note_end(self, address: str, now: float | None = None) -> None:
        """A connection has ended during its handshake, or was too slow. Nobody refused it.

        On this host that is as a rule a process of ours that ended, or did not wait for a busy one. So a line
        tells of many of them alone.

        Args:
            address: where it is from; empty if that is not known.
            now: monotonic seconds; None for the present.
        """
        now = time.monotonic() if now is None else now
        near = not address or _is_loopback(address)
        with self._lock:
            self.ended += 1
            if near:
                since, count = self._early
                since, count = (since, count + 1) if now - since < QUIET else (now, 1)
                self._early = since, count
            else:
                told = self._take(ENDED, address, now)
        if not near:
            if told is not None:
                self._say(f"a connection from {told[0]} {ENDED}{_more(told[1])}")
        elif count == MANY:
            self._say(
                f"{MANY} connections of this host ended during their handshakes within {QUIET:.0f} s: this "
                "process is too busy to answer them in time, or somebody tries its ports"
            )
        else:
            log.debug("a connection%s %s", f" from {address}" if address else "", ENDED)

    def _take(self, kind: str, address: str, now: float) -> tuple[str, int] | None:
        """Whether there is a line for this event now: its address, and how many events had none."""
        key = (kind, address)
        if key not in self._seen and len(self._seen) >= KINDS:
            self._seen = {old: seen for old, seen in self._seen.items() if now - seen[0] < QUIET}
            if len(self._seen) >= KINDS:
                key = (kind, "many addresses")
        last, missed = self._seen.get(key, (float("-inf"), 0))
        if now - last < QUIET:
            self._seen[key] = (last, missed + 1)
            return None
        self._seen[key] = (now, 0)
        return key[1], missed


def _more(missed: int) -> str:
    return f" ({missed} more since the last line)" if missed else ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
