"""What a worker's machine is told of what the user's code gave."""

from __future__ import annotations

from dataclasses import dataclass

from zturbo.core.effects import Work
from zturbo.core.worker.held_roots import InputKey
from zturbo.wire.messages import Batch

__all__ = ["Produced"]


@dataclass(slots=True)
class Produced:
    """What the user's code gave, of one job and epoch."""

    job: bytes
    epoch: int
    done: list[tuple[InputKey | None, int]]
    """(origin, tasks of it that are finished): of everything that has a part in the batch."""
    batch: Batch | None
    """Children, ENDs and FAILs; None if there are none."""
    tasks: int = 0
    """Tasks finished."""
    seconds: float = 0.0
    """What they took."""
    works: tuple[Work, ...] = ()
    """Pieces of work that are finished with this."""
