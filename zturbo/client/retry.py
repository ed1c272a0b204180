"""Failed tasks as the roots of a new job: each enters its pipeline at the stage where it failed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from zturbo.api.task import Task
from zturbo.client.reader import FailedTask
from zturbo.errors import UsageError
from zturbo.wire.control import to_broker
from zturbo.wire.payload import enter_at, pack_many, pack_one

if TYPE_CHECKING:
    from concurrent.futures import Future

    from zturbo.client.client import Client
    from zturbo.client.handle import JobHandle

__all__ = ["Root", "retry", "roots_of"]

AHEAD = 8
"""Chunks that may be on the way. Each has one task: where many failed, speed matters least."""

Root = tuple[list[Any], bytes]
"""(frames of its content, its packed meta)."""


def roots_of(name: str, failed: Iterable[Task]) -> list[Root]:
    """Roots that run these tasks again.

    Raises:
        UsageError: there are none, or one's input was not kept.
    """
    roots = []
    for task in failed:
        if not isinstance(task, FailedTask) or task.note or task.index < 0:
            note = task.note if isinstance(task, FailedTask) else ""
            raise UsageError(
                f"job {name!r}: a failed task cannot be run again: {note or 'its input is not known'} "
                f"({task.error}); submit the job anew"
            )
        blob, buffers = pack_one(task.content)
        roots.append(([blob, *buffers], pack_many([enter_at(task.input_meta, task.index)])))
    if not roots:
        raise UsageError(f"job {name!r} has no failed tasks: there is nothing to run again")
    return roots


def retry(client: Client, status: dict[str, Any], failed: list[Task], options: dict[str, Any]) -> JobHandle:
    """Submit failed tasks of a job, whose status this is, as a new job; returns its handle."""
    from zturbo.client.handle import JobHandle  # it imports this module

    roots = roots_of(status["name"], failed)
    job_id, name, pipeline = os.urandom(16), f"{status['name']} (retry)", status["pipeline"]
    chosen = {**status["options"], **options}
    at = client._ask(client._submission(job_id, name, pipeline, chosen, True))
    handle = JobHandle(client, job_id, name, at, 0)
    try:
        _feed(client, job_id, roots)
    except BaseException:
        handle.release()
        raise
    return handle


def _feed(client: Client, job_id: bytes, roots: list[Root]) -> None:
    under_way: list[Future[Any]] = []
    for message in _chunks(job_id, roots):
        if len(under_way) >= AHEAD:
            under_way.pop(0).result()
        under_way.append(client._io.ask(message))
    for future in under_way:
        future.result()
    client._ask(to_broker.CloseFeed(job=job_id, chunks=len(roots), total=len(roots)))


def _chunks(job_id: bytes, roots: list[Root]) -> Iterator[to_broker.Feed]:
    for i, (frames, meta) in enumerate(roots):
        yield to_broker.Feed(job=job_id, seq=i, first=i, n=1, metas=meta, contents=frames)
