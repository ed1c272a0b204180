"""Whether this host reaches the ports of a process on another one, for ``zturbo doctor`` there.

The broker names the addresses, which are those of a member: a client cannot let a node look elsewhere. The
looks are taken in a thread, and the node's loop asks for what was found.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from zturbo.errortext import error_text
from zturbo.runtime.net.findings import CONNECT, examine
from zturbo.runtime.net.host import with_zone
from zturbo.telemetry.seen import Reached, pack
from zturbo.wire.control import from_broker, to_broker

__all__ = ["Reaching"]

GLANCE = 0.05
"""Seconds between two glances at a thread that looks."""

ENOUGH = 8.0
"""Seconds for all addresses of a process."""

MOST = 16
"""Threads at most."""


class Reaching:
    """The looks of a node at ports.

    Args:
        node: id of the node.
        say: sends a message to the broker.
        zone: this host's card by which link-local addresses are reached; empty if there is none.
    """

    def __init__(self, node: bytes, say: Callable[[to_broker.Seen], None], zone: str = "") -> None:
        self._node = node
        self._zone = zone
        self._say = say
        self._threads: dict[int, tuple[threading.Thread, list[Reached]]] = {}
        """Number of the question -> the thread, and what it has found once it has ended."""
        self._due = math.inf

    def begin(self, question: from_broker.LookAt, now: float) -> None:
        """The broker asks."""
        if question.number in self._threads:
            return
        found: list[Reached] = []
        thread = threading.Thread(
            target=_look, args=(question.ends, self._zone, found), name="reach", daemon=True
        )
        try:
            if len(self._threads) >= MOST:
                raise RuntimeError(f"{MOST} looks are under way")
            thread.start()
        except RuntimeError as error:  # or no thread is left
            text = f"its node cannot look now: {error_text(error, 200)}; ask again in some seconds"
            self._say(to_broker.Seen(node=self._node, number=question.number, data=b"", error=text))
            return
        self._threads[question.number] = (thread, found)
        self._due = now + GLANCE

    def deadline(self) -> float:
        """When :meth:`tick` is due."""
        return self._due

    def tick(self, now: float) -> None:
        """Tell what was found."""
        if now < self._due:
            return
        for number, (thread, found) in list(self._threads.items()):
            if not thread.is_alive():
                del self._threads[number]
                data = pack(found[0] if found else Reached(()))
                self._say(to_broker.Seen(node=self._node, number=number, data=data, error=""))
        self._due = now + GLANCE if self._threads else math.inf


def _look(ends: tuple[str, ...], zone: str, found: list[Reached]) -> None:
    timeout = min(CONNECT, ENOUGH / max(1, len(ends)))
    found.append(Reached(tuple((end, *examine(with_zone(end, zone), timeout)) for end in ends)))
