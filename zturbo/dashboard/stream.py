"""What single workers did lately, task by task: their traces, asked for only while a viewer looks.

A question goes through the broker to the worker's node. One is on the way at a time, for a bounded number of
workers; what comes is kept for a moment, for all who look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zturbo.errors import ZturboError
from zturbo.errortext import path_text
from zturbo.telemetry.ring import Record, read_records
from zturbo.telemetry.seen import Traces

__all__ = ["LANES", "Streams"]

LANES = 24
"""Workers that are asked about at a time."""

FRESH = 2.0
"""Seconds for which an answer is shown again."""

WAIT = 1.0
"""Seconds that a viewer waits for another one's question; then it gets what is there."""

REACH = 330
"""Seconds that a question may go back."""

SPANS = 1500
"""Spans of a worker in an answer: the newest in the window."""

Look = Callable[[Sequence[str], int], Mapping[str, "Traces | ZturboError"]]


class _Kept:
    """What is known of one worker."""

    def __init__(self, asked: float, reach: int, found: Traces | ZturboError) -> None:
        self.asked = asked
        self.reach = reach
        self.error = str(found) if isinstance(found, ZturboError) else ""
        self.running: list[tuple[str, str, float]] = []
        """(job, path, seconds) of each task that ran when it was asked."""
        self.spans: list[tuple[float, Record]] = []
        """(seconds from its end to the answer, record)"""
        if isinstance(found, ZturboError) or not found.processes:
            return
        mine = found.processes[-1]
        self.spans = [(found.clock - record.ended, record) for record in read_records(mine.raw)]
        self.running = [(task.job.hex(), path_text(task.path), task.seconds) for task in mine.tasks[:LANES]]

    def answers(self, now: float, since: float) -> bool:
        """Whether it has what began so many seconds ago, as far as its worker has it."""
        return now - self.asked < FRESH and self.reach >= min(since, REACH)


class Streams:
    """The traces of those workers that viewers look at.

    Args:
        look: asks about workers, by incarnation, with the seconds to go back.
        clock: the time.
    """

    def __init__(self, look: Look, clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def spans(self, lanes: Iterable[str], since: float, until: float) -> list[dict[str, Any]]:
        """What these workers did in a window of time.

        Args:
            lanes: incarnations; those after the first :data:`LANES` are left out.
            since: seconds ago at which the window begins.
            until: seconds ago at which it ends.

        Returns:
            For each worker of which something is known a map: ``id``, ``error``, ``running``, and ``spans``
            with (seconds ago that it began, seconds, seconds of code, input, held back and zturbo itself,
            tasks, job, first path, last path, whether other jobs ran, bytes taken, bytes given).
        """
        wanted = list(dict.fromkeys(lanes))[:LANES]
        if self._lock.acquire(timeout=WAIT):
            try:
                self._ask(wanted, since)
            finally:
                self._lock.release()
        now = self._clock()
        return [_shown(lane, kept, since, until, now) for lane in wanted if (kept := self._kept.get(lane))]

    def _ask(self, wanted: Sequence[str], since: float) -> None:
        now = self._clock()
        for lane, kept in list(self._kept.items()):
            if now - kept.asked >= FRESH:
                del self._kept[lane]
        missing = [
            lane for lane in wanted if lane not in self._kept or not self._kept[lane].answers(now, since)
        ]
        if missing:
            reach = int(min(max(since, 0.0), REACH)) + 1
            answers = self._look(missing, reach)
            came = self._clock()
            for lane, found in answers.items():
                self._kept[lane] = _Kept(came, reach, found)


def _shown(lane: str, kept: _Kept, since: float, until: float, now: float) -> dict[str, Any]:
    older = now - kept.asked
    spans = [
        _row(ago + older, record)
        for ago, record in kept.spans
        if ago + older < since and ago + older + record.ended - record.began > until
    ]
    return {"id": lane, "error": kept.error, "running": kept.running, "spans": spans[-SPANS:]}


def _row(ago: float, record: Record) -> tuple[Any, ...]:
    seconds = record.ended - record.began
    return (
        *(round(value, 5) for value in (ago + seconds, seconds)),
        *(round(value, 6) for value in (record.code, record.input, record.held, record.own)),
        record.tasks,
        record.job.hex() if any(record.job) else "",
        path_text(record.first),
        path_text(record.last),
        record.several,
        record.taken,
        record.given,
    )
