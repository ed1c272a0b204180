"""What ``retry_failed`` sends: the failed tasks of a job as the roots of a new one.

The new job is called "NAME (retry)", on the same pipeline, with the options of the old one unless others
are given. It has one root for each failed task, in the order of the failures. A root has the content and the
meta with which the task came to the stage where it failed. A mark in the meta names that stage
(``enter_at``). The stages above it pass a root with the mark through; that stage takes the mark off
(``runtime/code/stagecode.py``). Tasks that did not fail are not sent. If the input of a failed task was not
kept, nothing is sent at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from zturbo.api.task import Task
from zturbo.client.acceptance import Acceptance
from zturbo.client.connection import Connection
from zturbo.client.reader import FailedTask
from zturbo.client.tracecontext import with_context
from zturbo.errors import UsageError
from zturbo.wire.control import to_broker

__all__ = ["Retried", "Root", "retry", "roots_of"]

AHEAD = 8
"""Chunks that may be on the way. Each has one task only: speed does not matter here."""

Root = tuple[list[Any], bytes]
"""(frames of its content, its packed meta)."""


class Retried(NamedTuple):
    """A job that runs failed tasks of another one."""

    job: bytes
    name: str
    acceptance: Acceptance


def roots_of(name: str, failed: Iterable[Task]) -> list[Root]:
    """Make roots that run these tasks again.

    Raises:
        UsageError: there are no tasks, or the input of one was not kept.
    """
    roots = []
    for task in failed:
        if not isinstance(task, FailedTask) or task.note or task.index < 0:
            note = task.note if isinstance(task, FailedTask) else ""
            raise UsageError(
                f"job {name!r}: a failed task cannot be run again: {note or 'its input is not known'} "
                f"({task.error}); submit the job anew"
            )
        roots.append(task.root())
    if not roots:
        raise UsageError(f"job {name!r} has no failed tasks: there is nothing to run again")
    return roots


def retry(
    connection: Connection, status: dict[str, Any], failed: list[Task], options: dict[str, Any]
) -> Retried:
    """Submit the failed tasks of the job with this status as a new job."""
    roots = roots_of(status["name"], failed)
    chosen = {**status["options"], **with_context(options)}
    submission = connection.submissions.stream(f"{status['name']} (retry)", status["pipeline"], chosen)
    job, acceptance = submission.job, connection.submit(submission)
    acceptance.result()
    try:
        _feed(connection, job, roots)
    except BaseException:
        connection.ask(to_broker.Release(job=job))
        raise
    return Retried(job, submission.new.name, acceptance)


def _feed(connection: Connection, job: bytes, roots: list[Root]) -> None:
    under_way: list[Future[Any]] = []
    for message in _chunks(job, roots):
        if len(under_way) >= AHEAD:
            under_way.pop(0).result()
        under_way.append(connection.io.ask(message))
    for future in under_way:
        future.result()
    connection.ask(to_broker.CloseFeed(job=job, chunks=len(roots), total=len(roots)))


def _chunks(job: bytes, roots: list[Root]) -> Iterator[to_broker.Feed]:
    for i, (frames, meta) in enumerate(roots):
        yield to_broker.Feed(job=job, seq=i, first=i, n=1, metas=meta, contents=frames)
