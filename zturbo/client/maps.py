"""A job of ``map``: it lives as long as the iterator of its results."""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import weakref
from collections.abc import Callable, Generator, Iterable
from concurrent import futures
from functools import partial
from typing import Any

from zturbo.client.acceptance import Acceptance
from zturbo.client.connection import Connection
from zturbo.client.feeder import Feeder
from zturbo.client.reader import Failure, Reader
from zturbo.client.submissions import OnError, Submission
from zturbo.errors import ZturboError
from zturbo.wire.control import to_broker

__all__ = ["begin_map"]

log = logging.getLogger("zturbo.client")

_maps: weakref.WeakSet[Generator[Any, None, None]] = weakref.WeakSet()
"""Iterators that the program still has: at its end they are closed."""


def begin_map(
    connection: Connection,
    contents: Iterable[Any],
    pipeline: str,
    submission: Submission,
    on_error: OnError | None,
    timeout: float,
) -> Generator[Any, None, None]:
    """Submit the job, and read ``contents`` in a thread. Returns the iterator of its results.

    Args:
        connection: to the broker.
        contents: those of the root tasks.
        pipeline: its name.
        submission: the job.
        on_error: how a failed task is given; None for tasks in place of contents.
        timeout: seconds that the end waits at most for the broker to take notice.
    """
    acceptance = connection.submit(submission)
    acceptance.result()
    check = partial(connection.submissions.check_size, pipeline)
    results = _results(connection, contents, submission.job, acceptance, on_error, check, timeout)
    next(results)  # inside its try statement: so it ends the job even if no result is ever taken
    _maps.add(results)
    return results


def _results(
    connection: Connection,
    contents: Iterable[Any],
    job_id: bytes,
    acceptance: Acceptance,
    on_error: OnError | None,
    check: Callable[[list[Any]], None],
    timeout: float,
) -> Generator[Any, None, None]:
    """Yields None, then contents; tasks if ``on_error`` is None."""
    reader = Reader(connection.io, job_id, 0, acceptance, once=True)
    feeder = Feeder(connection.io, job_id, contents, fail=reader.fail, check=check)
    complete = False
    try:
        yield None
        if on_error is None:
            yield from reader.tasks(None)
        else:
            for content in reader.contents(None):
                if type(content) is not Failure:
                    yield content
                else:
                    yield from content.take(on_error)
        complete = True
    finally:
        feeder.close()
        if not connection.forked and not sys.is_finalizing():  # then no thread is left to send it
            release = to_broker.Release(job=job_id, history=True, complete=complete)
            _quietly(connection.send(release), connection.io.may_wait(timeout))


@atexit.register
def _close_maps() -> None:
    for results in list(_maps):
        with contextlib.suppress(Exception):  # one that runs in another thread cannot be closed
            results.close()


def _quietly(future: futures.Future[Any], timeout: float) -> None:
    try:
        future.result(timeout)
    except (ZturboError, futures.TimeoutError) as error:
        log.debug("not released: %s", error)
