"""Placement: which worker of each ordered stage gets a job, and which sink.

The least loaded ones are chosen. A job gets all of its seats at once; if one is not free, it gets none and
waits, and its status says for what.
"""

from __future__ import annotations

from collections.abc import Set

from zturbo.slotted import slotted
from zturbo.wire.control.view import Member

__all__ = ["Placed", "Placement", "StageInfo"]


@slotted(frozen=True)
class StageInfo:
    """What placement knows of a stage."""

    name: str
    ordered: bool | None
    """Whether a sequencer precedes its code; None as long as no worker of it has said so."""


@slotted(frozen=True)
class Placed:
    """A job's seats."""

    ordered: dict[int, bytes]
    """Ordered stage -> its worker."""
    sink: bytes


class Placement:
    """Counts the jobs that each ordered worker and each sink has."""

    def __init__(self) -> None:
        self._load: dict[bytes, int] = {}

    def place(
        self,
        pipeline: str,
        stages: list[StageInfo],
        workers: list[list[Member]],
        sinks: list[Member],
        leaving: Set[bytes] = frozenset(),
    ) -> Placed | str:
        """Choose a job's seats and count them. A text in place of seats says what the job waits for.

        Args:
            pipeline: its name, for that text.
            stages: the pipeline's stages.
            workers: the living workers of each stage.
            sinks: the living sinks.
            leaving: members that are about to leave, and get no more jobs.
        """
        ordered: dict[int, bytes] = {}
        for index, stage in enumerate(stages):
            here = workers[index]
            if not here or stage.ordered is None:
                return f"a worker of stage {pipeline}.{stage.name}"
            if not stage.ordered:
                continue
            here = [m for m in here if m.incarnation not in leaving]
            free = [m for m in here if not m.slots or self._load.get(m.incarnation, 0) < m.slots]
            if not free:
                return f"a free slot at stage {pipeline}.{stage.name}: all of its workers have a job"
            ordered[index] = min(free, key=lambda m: self._load.get(m.incarnation, 0)).incarnation
        sinks = [m for m in sinks if m.incarnation not in leaving]
        if not sinks:
            return "a sink"
        sink = min(sinks, key=lambda m: self._load.get(m.incarnation, 0)).incarnation
        placed = Placed(ordered, sink)
        self.take(placed)
        return placed

    def take(self, placed: Placed) -> None:
        """Count seats that were given before a restart."""
        for incarnation in (*placed.ordered.values(), placed.sink):
            self._load[incarnation] = self._load.get(incarnation, 0) + 1

    def free(self, placed: Placed) -> None:
        """The job has left its seats."""
        for incarnation in (*placed.ordered.values(), placed.sink):
            self._load[incarnation] -= 1
            if self._load[incarnation] <= 0:
                del self._load[incarnation]
