"""Jobs that travel together: what a member says of a task of their carrier is about one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zturbo.wire.carried import carried_id, place_of
from zturbo_broker.jobs.job import Job

__all__ = ["of_its_job"]

Record = tuple[Any, bytes, tuple[int, ...], str]
"""(level, job, path of its task, text) of a line, as a member says it."""


def of_its_job(find: Callable[[bytes], Job | None], record: Record) -> Record:
    """A line of a carrier's task as a line of the job that this is: (level, job, path, text)."""
    level, name, path, text = record
    job = find(name) if path and place_of(name)[1] < 0 else None
    if job is None or path[0] >= job.carries:
        return record
    return level, carried_id(name, path[0]), path[1:], text
