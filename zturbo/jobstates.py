"""States: the base of all enums of states, and those of a job, as members and clients are told them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

__all__ = ["ENDED", "LIVE", "WHY_CANCELLED", "JobState", "State", "title_of"]


class State(str, Enum):
    """A base for the states of an object; each is its own name as a text, and is hashed as quickly."""

    __str__ = str.__str__


class JobState(State):
    """State of a job; each value is the name on the wire and in a status."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = frozenset({JobState.WAITING, JobState.RUNNING})
"""States of a job that has not ended."""

ENDED = frozenset(JobState) - LIVE
"""States of a job that has ended; it does not leave them."""


WHY_CANCELLED = "JobCancelled", "cancelled by a client"
"""Kind and text of the error of a job that a client has ended."""


def title_of(job: Mapping[str, Any]) -> str:
    """A job's name for people, of its status: with the number of jobs, if it stands for
    several, and of those that have ended."""
    carries, over = job.get("carries", 0), job.get("over", 0)
    if not carries:
        return str(job["name"])
    return f"{job['name']} x {carries}" + (f" ({over} ended)" if over else "")
