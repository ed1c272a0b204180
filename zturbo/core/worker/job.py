"""The state of one job at a worker."""

from __future__ import annotations

from zturbo.core.order.sequencer import Sequencer
from zturbo.slotted import slotted
from zturbo.wire.messages import Batch, Mark, Path, Stamp

__all__ = ["WorkerJob"]


@slotted
class WorkerJob:
    """A job in one epoch: its stamp, and the counts of its code's outputs."""

    stamp: Stamp
    sequencer: Sequencer | None = None
    """None at a plain stage."""
    marks: tuple[Mark, ...] = ()
    """The stamp's marks on tasks of this stage."""
    suspects: frozenset[Path] = frozenset()
    """Tasks that run alone, since they may have killed workers."""
    finished: bool = False
    """At an ordered stage: the final work has been handed out."""
    done: int = 0
    """Outputs, failures and drops that the code has given, including those of a task that still runs.
    Failures of stages above that passed by are not counted."""
    failures: int = 0
    """Failures among them: those that began here."""
    failure: str | None = None
    """Why the job is to end, if it has fail_fast: its first failure here, as a sentence."""

    def stamped(self, stamp: Stamp, stage: int) -> None:
        """Take a newer stamp, and from it the marks of this stage."""
        self.stamp = stamp
        self.marks = tuple(mark for mark in stamp.marks if mark.stage == stage)
        self.suspects = frozenset(mark.path for mark in self.marks if not mark.kind)

    def count(self, batch: Batch, passing: int = 0) -> None:
        """Count what the code has given.

        An ordered stage's END of all, at the path ``()``, is no drop.

        Args:
            batch: outputs, ENDs and FAILs.
            passing: failures of stages above among them, which pass by the code of an ordered stage.
        """
        ordered = self.sequencer is not None
        dropped = sum(not end.count and not (ordered and not end.path) for end in batch.ends)
        self.done += batch.n + len(batch.fails) - passing + dropped
        self.failures += len(batch.fails) - passing
