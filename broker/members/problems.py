"""Why members do not start or are refused, for the status of the jobs that wait for them."""

from __future__ import annotations

import math

from zturbo.wire.control.view import Member

__all__ = ["Problems"]

REFUSED_FOR = 60.0
"""Seconds for which a refusal is told. A refused member comes again before that, unless it was stopped."""


class Problems:
    """The latest problem of each stage, and of the sinks.

    A stage is named by its pipeline and index. Sinks, which serve all pipelines, have ``""`` and -1.
    """

    def __init__(self) -> None:
        self._all: dict[tuple[str, int], tuple[str, float]] = {}
        self._outside: dict[bytes, tuple[str, int, str, float]] = {}
        """Process that is not let in -> its pipeline and stage, why, and until when that is told."""
        self._given_up: dict[tuple[str, int], tuple[str, float]] = {}
        """Stage -> why the latest process that was refused for good has ended; until when that is told."""

    def failed(self, pipeline: str, stage: int, text: str) -> None:
        """A member of this stage could not start: that is told until one has joined."""
        self._all[pipeline, stage] = (text, math.inf)

    def refused(self, pipeline: str, stage: int, text: str, now: float) -> None:
        """A member of this stage was refused: that is told for a while."""
        self._all[pipeline, stage] = (text, now + REFUSED_FOR)

    def given_up(self, pipeline: str, stage: int, text: str, now: float, *, others: bool) -> None:
        """A process of this stage was refused for good. That is told until a member has joined, or for a
        while if the stage has other members. What keeps a process out that still tries comes before it."""
        self._given_up[pipeline, stage] = (text, now + REFUSED_FOR if others else math.inf)

    def kept_out(self, member: Member, text: str, until: float) -> None:
        """This process is not let in yet: that is told until then, or until it is let in or gone."""
        self._outside[member.incarnation] = (member.pipeline, member.stage, text, until)

    def let_in(self, incarnation: bytes) -> None:
        """It was let in, or is gone."""
        self._outside.pop(incarnation, None)

    def over(self, pipeline: str, stage: int) -> None:
        """A member of this stage has joined."""
        self._all.pop((pipeline, stage), None)
        self._given_up.pop((pipeline, stage), None)

    def of(self, pipeline: str, stage: int, now: float) -> str | None:
        """The problem, if there is one."""
        text, until = self._all.get((pipeline, stage), (None, math.inf))
        if text is not None and now < until:
            return text
        outside = [
            text
            for *place, text, until in self._outside.values()
            if place == [pipeline, stage] and now < until
        ]
        more = f" (and {len(outside) - 1} more)" if len(outside) > 1 else ""
        if outside:
            return f"{outside[-1]}{more}"
        text, until = self._given_up.get((pipeline, stage), (None, math.inf))
        return text if now < until else None
