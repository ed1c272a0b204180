"""What a sink found in its spool when it started. The sink reports it until the broker confirms it."""

from __future__ import annotations

import math
from collections.abc import Callable

from zturbo.core.effects import Control, Effect, ForgetDamaged
from zturbo.wire.control import to_broker

__all__ = ["RecoveredSpool"]

RECOVERED_EVERY = 1.0
"""Seconds between two reports of what was recovered, until the broker confirms it."""


class RecoveredSpool:
    """The report of a spool that was read.

    Args:
        me: incarnation of the sink.
        effects: where what is to be done is appended.
    """

    def __init__(self, me: bytes, effects: list[Effect]) -> None:
        self._me = me
        self._effects = effects
        self._damaged: tuple[bytes, ...] = ()
        self.untold = False
        """Whether there is a report that the broker has not confirmed."""
        self._tell_at = -math.inf

    def read(self, damaged: list[bytes], now: float) -> None:
        """All of the spool was read; these jobs' files were damaged, and are gone."""
        self._damaged = tuple(damaged)
        self.untold = True
        self._tell_at = now

    def confirmed(self) -> None:
        """The broker has confirmed the report: the marks of damaged files may go."""
        self.untold = False
        self._effects.append(ForgetDamaged(list(self._damaged)))

    def tell(self, ranks: Callable[[], list[tuple[bytes, int, int]]], now: float) -> None:
        """Report it, if that is due; ``ranks`` gives (job, epoch, revision) of each job here."""
        if self.untold and now >= self._tell_at:
            self._tell_at = now + RECOVERED_EVERY
            message = to_broker.Recovered(incarnation=self._me, jobs=tuple(ranks()), damaged=self._damaged)
            self._effects.append(Control(message))

    def deadline(self) -> float | None:
        """When the report is due."""
        return self._tell_at if self.untold else None
