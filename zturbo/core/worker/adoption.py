"""The broker as the sender of a worker's roots, and the report of these roots to a new broker."""

from __future__ import annotations

from zturbo.core.effects import Control, Effect
from zturbo.core.worker.arrivals import Arrivals
from zturbo.core.worker.held_roots import InputKey
from zturbo.wire.control import to_broker

__all__ = ["REPORT_EVERY", "Adoption"]

REPORT_EVERY = 1.0
"""Seconds between two reports that no broker has confirmed."""


class Adoption:
    """Which broker the roots of a worker belong to.

    Args:
        me: incarnation of the worker.
        arrivals: the roots are among them.
        effects: list to which it appends its effects.
    """

    def __init__(self, me: bytes, arrivals: Arrivals, effects: list[Effect]) -> None:
        self._me = me
        self._arrivals = arrivals
        self._effects = effects
        self.broker = b""
        """Incarnation of the present broker; empty before the first."""
        self._report: to_broker.Held | None = None
        self._report_at = 0.0

    def adopt(self, broker: bytes, here: list[tuple[InputKey, int, int]], now: float) -> None:
        """Make this broker the owner of the roots of the broker before it, and report them to it.

        The first broker gets a report too: it may know this worker from its ledger, and wait for the report.

        Args:
            broker: its incarnation.
            here: (input, tasks, bytes) of all tasks whose credit has not come back.
            now: monotonic seconds.
        """
        items = self._arrivals.adopt(self.broker, broker, here, now)
        self.broker = broker
        self._report = to_broker.Held(incarnation=self._me, broker=broker, items=tuple(items))
        self._report_at = now

    def confirmed(self, broker: bytes) -> None:
        """This broker has confirmed the report."""
        if self._report is not None and self._report.broker == broker:
            self._report = None

    def deadline(self) -> float | None:
        """When the report is due."""
        return None if self._report is None else self._report_at

    def tick(self, now: float) -> None:
        """Report the held roots, until the broker confirms that."""
        if self._report is not None and now >= self._report_at:
            self._report_at = now + REPORT_EVERY
            self._effects.append(Control(self._report))
