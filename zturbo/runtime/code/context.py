"""What all parts of a stage's host know: the stage, the note of what runs, and how a run may be ended.

The note is in memory that the worker's node reads, see :mod:`zturbo.runtime.process.running`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

from zturbo.runtime.process.descriptors import LOST_DESCRIPTORS, Descriptors, Watched
from zturbo.slotted import field, slotted
from zturbo.wire.messages import Mark, Path

__all__ = ["Broken", "StageContext", "Stale"]

LOOK_EVERY = 0.0005
"""Seconds of quick work between two looks for the descriptors."""

MOST_RAN = 64
"""Pieces of work between two looks at most."""


class Stale(BaseException):
    """The job was started over or has ended: what runs of it is void."""


class Broken(BaseException):
    """This process cannot go on: its outputs would be lost. What runs stays noted."""


class _NoRunningNote:
    """A note that nobody reads, for debug mode."""

    def __init__(self) -> None:
        self.numbers = [0] * 4

    def begin(self, job: bytes, epoch: int, prefix: Path, root: bool) -> None: ...

    def run(self, job: bytes, epoch: int, first: Path, n: int) -> int:
        return 1

    def task(self, k: int) -> None: ...

    def several(self, job: bytes, epoch: int, paths: list[Path]) -> None: ...

    def nearest(self, job: bytes, epoch: int, paths: list[Path]) -> None: ...

    def end(self) -> None: ...

    def enter(self, seat: int, job: bytes, epoch: int, path: Path) -> None: ...

    def gave(self, seat: int, count: int) -> None: ...

    def leave(self, seat: int) -> None: ...


@slotted
class StageContext:
    """A stage in one process, as all parts of its host see it."""

    name: str
    """Of the stage, for logs and errors."""
    index: int
    """Of the stage in its pipeline."""
    host: str = ""
    """Name of this host, for errors."""
    running_note: Any = field(default_factory=_NoRunningNote)
    """Where it is noted which tasks run."""
    through: tuple[type[BaseException], ...] = (Stale, Broken)
    """Exceptions that are no failure of a task. All others that the stage's code raises fail its task alone,
    ``sys.exit()`` and ``KeyboardInterrupt`` too: a worker is told to stop by other means. Where a person may
    stop the code by Ctrl-C, that is one more."""
    descriptors: Descriptors | None = None
    """Those of this process that the stage's code must leave alone; None if nobody looks after them."""
    _unwatched: Any = None
    _ran: list[tuple[bytes, int, Callable[[], list[Path]]]] = field(default_factory=list)
    """(job, epoch, tasks) of work that has run since the last look."""
    _looked: float = 0.0

    def watch(self, marks: tuple[Mark, ...]) -> None:
        """Before work with these marks: if there are any, look for the descriptors after each task.

        So the task to blame is named. Without suspects, a look after all tasks is enough.
        """
        if self.descriptors is None:
            return
        if self._unwatched is not None:
            self.running_note, self._unwatched = self._unwatched, None
        if marks:
            self._unwatched = self.running_note
            self.running_note = Watched(self._unwatched, self.descriptors)

    def look_after(self, job: bytes, epoch: int, ran: Callable[[], list[Path]]) -> None:
        """After a piece of work: look whether our descriptors are there, unless the last look was just now.

        A look takes as long as some quick tasks do. So work that comes right after a look waits for the next
        one, or for :meth:`look`.

        Args:
            job: of the work.
            epoch: of the job.
            ran: gives the paths of the tasks that have run.
        """
        if self.descriptors is None:
            return
        self._ran.append((job, epoch, ran))
        if perf_counter() - self._looked > LOOK_EVERY or len(self._ran) >= MOST_RAN:
            self.look()

    def look(self) -> None:
        """End this process if the stage's code has closed our descriptors, with all tasks noted that have run
        since they were there."""
        if self.descriptors is None or not self._ran:
            return
        if self.descriptors.there():
            self._ran.clear()
            self._looked = perf_counter()
            return
        if not self.running_note.read():
            self._note_all()
        os._exit(LOST_DESCRIPTORS)

    def _note_all(self) -> None:
        if len(self._ran) == 1:
            ((job, epoch, ran),) = self._ran
            self.running_note.several(job, epoch, ran())
            return
        tasks = [(job, epoch, path) for job, epoch, ran in self._ran for path in ran()]
        for seat, task in enumerate(tasks):
            self.running_note.enter(seat, *task)
