"""Writes a worker's trace: spans of its main thread's time, from its stop-watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from zturbo.telemetry.ring import Ring
from zturbo.wire.messages import Batch, Path, PathRun

__all__ = ["REST", "Recorder"]

SPAN = 0.02
"""Seconds of a span of quick work. A piece of work or a wait that takes as long gets a span of its own."""

REST = 1.5 * SPAN
"""Seconds without input after which quick work is recorded, since nothing may follow."""

LOOK = 1.0
"""Seconds between two looks at the memory of the process."""

PARTED = 64
"""Spans at most that end because work of another job begins, above one for each span of quick work."""

Spent = tuple[float, float, float, float]
"""Seconds of code, input, held back, zturbo itself."""

_NONE = b"\0" * 16


class _Before(NamedTuple):
    """Work that is not recorded yet, when work of another job begins."""

    job: bytes
    first: tuple[Sequence[PathRun], int]
    last: tuple[Sequence[PathRun], int]
    several: bool
    taken: int


class Recorder:
    """The spans of one worker; for its main thread alone.

    Quick work of another job begins a span of its own: up to :data:`PARTED` times at once, and for long once
    in a span of quick work. So there are 100 records a second at most.

    Args:
        ring: where records go.
        now: the time.
        finished: gives the tasks finished so far.
        failed: gives those of them that failed.
        memory: gives the bytes of this process in memory.

    Attributes:
        due: when the next record is to be written; a stop-watch compares its time with that.
        given: bytes that were packed since the last record.
    """

    __slots__ = (
        "_at",
        "_before",
        "_failed",
        "_finished",
        "_first",
        "_job",
        "_last",
        "_look_at",
        "_lost",
        "_may_part",
        "_memory",
        "_memory_now",
        "_ring",
        "_several",
        "_spent",
        "_taken",
        "_tasks",
        "due",
        "given",
    )

    def __init__(
        self,
        ring: Ring,
        now: float,
        finished: Callable[[], int] = lambda: 0,
        failed: Callable[[], int] = lambda: 0,
        memory: Callable[[], int] = lambda: 0,
    ) -> None:
        self._ring = ring
        self._finished = finished
        self._failed = failed
        self._memory_now = memory
        self._memory, self._look_at = 0, now
        self._at = now
        self._spent: Spent = (0.0, 0.0, 0.0, 0.0)
        self._tasks = self._lost = 0
        self._taken = self.given = 0
        self._job = _NONE
        self._several = False
        self._first: tuple[Sequence[PathRun], int] | None = None
        self._last: tuple[Sequence[PathRun], int] | None = None
        self._before: _Before | None = None
        self._may_part = PARTED
        """How often work of another job may begin a span of its own before the next record."""
        self.due = now + SPAN

    @property
    def owes(self) -> bool:
        """Whether work has begun that no record tells of yet."""
        return self._first is not None

    def work(self, job: bytes, pieces: Sequence[tuple[Batch, int, int]]) -> None:
        """Work begins: tasks of a job, as pieces of batches."""
        (batch, start, _), (newest, _, stop) = pieces[0], pieces[-1]
        if self._first is None:
            self._first = batch.runs, start
            self._several = False
        elif job != self._job:
            if self._may_part and self._last is not None:
                self._before = _Before(self._job, self._first, self._last, self._several, self._taken)
                self._first, self._several, self._taken = (batch.runs, start), False, 0
                self._may_part -= 1
                self.due = 0.0
            else:
                self._several = True
        self._job = job
        self._last = newest.runs, stop - 1
        for batch, start, stop in pieces:
            plain = not batch.buffers and batch.metas is None
            nbytes = len(batch.blob) if plain else batch.nbytes  # the property costs as much as all the rest
            self._taken += nbytes * (stop - start) // max(1, batch.n)

    def record(self, since: float, before: Spent, now: float, spent: Spent) -> None:
        """A lap of the stop-watch is over, and a record is due.

        Args:
            since: when the lap began.
            before: the sums at that time.
            now: the time.
            spent: the sums now.
        """
        code_ran = spent[0] > before[0]
        if self._before is None:
            self._may_part = min(PARTED, self._may_part + 1)
        elif code_ran:  # of the later job, too
            self._first, self._several = self._before.first, True
            self._taken += self._before.taken
            self._before = None
        if now - since >= SPAN and since > self._at:
            self._write(since, before, tasks=not code_ran)
            self._write(now, spent, tasks=code_ran)
        else:
            self._write(now, spent, tasks=True)
        self.due = now + SPAN

    def _write(self, ended: float, spent: Spent, *, tasks: bool) -> None:
        code, waited, held, own = spent
        code_before, waited_before, held_before, own_before = self._spent
        code -= code_before
        number, taken, failed, job, several = 0, 0, 0, _NONE, False
        first: Path = ()
        last: Path = ()
        if tasks and self._last is not None and (code or self._first is not None):
            finished = self._finished()
            number, self._tasks = max(0, finished - self._tasks), finished
            lost = self._failed()
            failed, self._lost = max(0, lost - self._lost), lost
            if self._before is not None:
                (job, begun, end, several, taken), self._before = self._before, None
            else:
                job, begun, end, several = self._job, self._first or self._last, self._last, self._several
                self._first = None
                taken, self._taken = self._taken, 0
            first, last = _path(*begun), _path(*end)
        given, self.given = self.given, 0
        if ended >= self._look_at:
            self._memory, self._look_at = self._memory_now(), ended + LOOK
        began, self._at, self._spent = self._at, ended, spent
        self._ring.add(
            began,
            ended,
            code,
            waited - waited_before,
            held - held_before,
            own - own_before,
            number,
            job,
            first,
            last,
            several and bool(number or first),
            taken,
            given,
            failed,
            self._memory,
        )


def _path(runs: Sequence[PathRun], index: int) -> Path:
    """The path of a task of a batch."""
    for path, count in runs:
        if index < count:
            return (*path[:-1], path[-1] + index) if path else path
        index -= count
    return ()
