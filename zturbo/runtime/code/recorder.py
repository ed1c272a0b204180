"""Writes a worker's trace: spans of its main thread's time, from its stop-watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zturbo.telemetry.ring import Record, Ring
from zturbo.wire.messages import Batch, Path, PathRun

__all__ = ["Recorder"]

SPAN = 0.02
"""Seconds of a span of quick work. A piece of work or a wait that takes as long gets a span of its own."""

Spent = tuple[float, float, float, float]
"""Seconds of code, input, held back, zturbo itself."""

_NONE = b"\0" * 16


class Recorder:
    """The spans of one worker; for its main thread alone.

    Args:
        ring: where records go.
        now: the time.
        finished: gives the tasks finished so far.

    Attributes:
        due: when the next record is to be written; a stop-watch compares its time with that.
        given: bytes that were packed since the last record.
    """

    __slots__ = (
        "_at",
        "_finished",
        "_first",
        "_job",
        "_last",
        "_ring",
        "_several",
        "_spent",
        "_taken",
        "_tasks",
        "due",
        "given",
    )

    def __init__(self, ring: Ring, now: float, finished: Callable[[], int] = lambda: 0) -> None:
        self._ring = ring
        self._finished = finished
        self._at = now
        self._spent: Spent = (0.0, 0.0, 0.0, 0.0)
        self._tasks = 0
        self._taken = self.given = 0
        self._job = _NONE
        self._several = False
        self._first: tuple[Sequence[PathRun], int] | None = None
        self._last: tuple[Sequence[PathRun], int] | None = None
        self.due = now + SPAN

    def work(self, job: bytes, pieces: Sequence[tuple[Batch, int, int]]) -> None:
        """Work begins: tasks of a job, as pieces of batches."""
        (batch, start, _), (newest, _, stop) = pieces[0], pieces[-1]
        if self._first is None:
            self._first = batch.runs, start
            self._several = False
        elif job != self._job:
            self._several = True
        self._job = job
        self._last = newest.runs, stop - 1
        for batch, start, stop in pieces:
            self._taken += batch.nbytes * (stop - start) // max(1, batch.n)

    def record(self, since: float, before: Spent, now: float, spent: Spent) -> None:
        """A lap of the stop-watch is over, and a record is due.

        Args:
            since: when the lap began.
            before: the sums at that time.
            now: the time.
            spent: the sums now.
        """
        if now - since >= SPAN and since > self._at:
            long_code = spent[0] > before[0]
            self._write(since, before, tasks=not long_code)
            self._write(now, spent, tasks=True)
        else:
            self._write(now, spent, tasks=True)
        self.due = now + SPAN

    def _write(self, ended: float, spent: Spent, *, tasks: bool) -> None:
        code, waited, held, own = (max(0.0, b - a) for a, b in zip(self._spent, spent, strict=True))
        number, taken, job = 0, 0, _NONE
        first: Path = ()
        last: Path = ()
        if tasks and self._last is not None and (code or self._first is not None):
            finished = self._finished()
            number, self._tasks = max(0, finished - self._tasks), finished
            job, first, last = self._job, _path(*(self._first or self._last)), _path(*self._last)
            self._first = None
            taken, self._taken = self._taken, 0
        given, self.given = self.given, 0
        several = self._several and bool(number or first)
        began, self._at, self._spent = self._at, ended, spent
        self._ring.add(
            Record(began, ended, code, waited, held, own, number, job, first, last, several, taken, given)
        )


def _path(runs: Sequence[PathRun], index: int) -> Path:
    """The path of a task of a batch."""
    for path, count in runs:
        if index < count:
            return (*path[:-1], path[-1] + index) if path else path
        index -= count
    return ()
