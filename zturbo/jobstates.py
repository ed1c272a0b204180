"""The states of a job, as the broker has them and everybody else is told."""

from __future__ import annotations

from enum import Enum

__all__ = ["ENDED", "LIVE", "JobState"]


class JobState(str, Enum):
    """Where a job stands; each state is its own name as a text."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __str__ = str.__str__


LIVE = frozenset({JobState.WAITING, JobState.RUNNING})
"""States of a job that may still come to an end."""

ENDED = frozenset(JobState) - LIVE
"""States that a job does not leave."""
