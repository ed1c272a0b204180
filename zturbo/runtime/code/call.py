"""One call of a stage's code: for which tasks, and where their outputs go."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import repeat

from zturbo.core.effects import Work
from zturbo.runtime.code.output import Output
from zturbo.slotted import field, slotted
from zturbo.wire.messages import Mark, Path

__all__ = ["Call", "never_run"]


@slotted
class Call:
    """What all tasks of one call have in common."""

    job: bytes
    """The job of the tasks."""
    epoch: int
    """The job's epoch, for the note of what runs."""
    out: Output
    """Where the outputs go. ``out.finished`` counts the tasks, each after its outputs."""
    unstarted: Iterator[None] = field(default_factory=partial(repeat, None, 0))
    """Gives a value for each task that is not started; a plain stage starts no task without one."""
    marks: tuple[Mark, ...] = ()
    """What the broker found out about tasks of this stage."""
    logs: bool = False
    """Whether each task gets a log of the stages that it has passed."""

    @classmethod
    def of(cls, work: Work, out: Output) -> Call:
        """The call for a piece of work."""
        return cls(work.job, work.epoch, out, work.unstarted, work.marks, work.logs)


def never_run(marks: tuple[Mark, ...]) -> set[Path]:
    """Tasks that are condemned before they gave anything: a failure takes the place of each."""
    return {mark.path for mark in marks if mark.kind and not mark.given}
