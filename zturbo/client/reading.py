"""A handle's reading of its job's results: one reader at a time, and what it has found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from zturbo.api.result import Result
from zturbo.api.task import Task
from zturbo.client.connection import Connection
from zturbo.client.reader import Failure, Reader
from zturbo.errors import ResultTimeout
from zturbo.wire.control import answers

__all__ = ["JobReading"]

FRESH = 0.25
"""Seconds for which the broker's answer to a submit says where results are. Each reader takes over from the
one before it, by a turn that the broker gives. So a reader that comes later asks for its own."""


class JobReading:
    """Reads the results of one job.

    Args:
        connection: the client's.
        job: its id.
        at: where results are, as the broker has just said.
        first: index of the first result for :meth:`contents` and :meth:`tasks`; -1 for the sink's cursor.
    """

    def __init__(
        self, connection: Connection, job: bytes, at: answers.Whereabouts | None, first: int
    ) -> None:
        self.connection = connection
        self.job = job
        self.first = first
        self._at = at
        self._at_until = time.monotonic() + FRESH
        self._turn = Lock()
        self.failed_tasks: list[Task] = []
        """Failed tasks that have come among contents."""
        self.result: Result | None = None
        """All of it, once it was collected."""
        self.streamed = False
        """Whether results are read one by one, and so are not collected unasked."""

    def whereabouts(self) -> answers.Whereabouts | None:
        """Where results are, if the broker has just said so; else None: the reader is to ask."""
        at, self._at = self._at, None
        return at if time.monotonic() < self._at_until else None

    def _reader(self, first: int, *, tell: bool = False) -> Reader:
        return Reader(self.connection.io, self.job, first, self.whereabouts(), tell=tell)

    @contextmanager
    def turn(self, timeout: float | None, late: str) -> Iterator[None]:
        """Let one thread at a time read all results; raises ResultTimeout if another takes too long."""
        if not self._turn.acquire(timeout=-1 if timeout is None else timeout):
            raise ResultTimeout(late)
        try:
            yield
        finally:
            self._turn.release()

    def contents(self, deadline: float | None) -> Iterator[Any]:
        """Contents in order; failed tasks go to ``failed_tasks``."""
        self.streamed = True
        for content in self._reader(self.first, tell=True).contents(deadline):
            if type(content) is Failure:
                self.failed_tasks.append(content.task)
            else:
                yield content

    def tasks(self, deadline: float | None) -> Iterator[Task]:
        """Tasks in order, failed ones in their places."""
        self.streamed = True
        yield from self._reader(self.first, tell=True).tasks(deadline)

    def all_tasks(self, deadline: float | None) -> Iterator[Task]:
        """All of them from the start, whatever has been taken before."""
        return self._reader(0).tasks(deadline)
