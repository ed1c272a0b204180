"""Outputs of the user's code, on their way to the worker's machine."""

from __future__ import annotations

from zturbo.core.effects import Work
from zturbo.core.worker.held_roots import InputKey
from zturbo.slotted import slotted
from zturbo.wire.messages import Batch

__all__ = ["Produced"]


@slotted
class Produced:
    """Outputs of one job and epoch, and the tasks and work that are finished with them."""

    job: bytes
    epoch: int
    done: list[tuple[InputKey | None, int]]
    """(input, tasks of it that are finished) for each input that the batch came of."""
    batch: Batch | None
    """The children, ENDs and FAILs; None if there are none."""
    tasks: int = 0
    """Tasks finished."""
    seconds: float = 0.0
    """Seconds that these tasks took."""
    works: tuple[Work, ...] = ()
    """Pieces of work that are finished with this."""
    passing: int = 0
    """Failures of stages above among those of the batch."""
