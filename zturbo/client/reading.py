"""A handle's reading of its job's results: one reader at a time, and what it has found."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

from zturbo.api.result import FailedTasks, Result
from zturbo.api.task import Task
from zturbo.client.acceptance import Acceptance
from zturbo.client.connection import Connection
from zturbo.client.reader import FailedTask, Failure, Reader
from zturbo.errors import ResultTimeout

__all__ = ["JobReading"]


class JobReading:
    """Reads the results of one job.

    Args:
        connection: the client's.
        job: its id.
        acceptance: the broker's answer to the job.
        first: index of the first result for :meth:`contents` and :meth:`tasks`; -1 for the sink's cursor.
    """

    def __init__(self, connection: Connection, job: bytes, acceptance: Acceptance, first: int) -> None:
        self.connection = connection
        self.job = job
        self.first = first
        self.acceptance = acceptance
        self._turn = Lock()
        self.failed_tasks: FailedTasks[FailedTask] = FailedTasks()
        """Failed tasks that have come among contents."""
        self.result: Result | None = None
        """All of it, once it was collected."""
        self.streamed = False
        """Whether results are read one by one, and so are not collected unasked."""

    def _reader(self, first: int, *, tell: bool = False, once: bool = False) -> Reader:
        return Reader(self.connection.io, self.job, first, self.acceptance, tell=tell, once=once)

    def begin_turn(self, timeout: float | None, late: str) -> None:
        """Let this thread alone read all results; raises ResultTimeout if another takes too long."""
        if not self._turn.acquire(timeout=-1 if timeout is None else timeout):
            raise ResultTimeout(late)

    def end_turn(self) -> None:
        """Let other threads read them."""
        self._turn.release()

    def contents(self, deadline: float | None, *, keep: bool = True) -> Iterator[Any]:
        """Contents in order; failed tasks go to ``failed_tasks``."""
        self.streamed = True
        for content in self._reader(self.first, tell=True, once=not keep).contents(deadline):
            if type(content) is Failure:
                self.failed_tasks.append(content.task)
            else:
                yield content

    def tasks(self, deadline: float | None, *, keep: bool = True) -> Iterator[Task]:
        """Tasks in order, failed ones in their places."""
        self.streamed = True
        yield from self._reader(self.first, tell=True, once=not keep).tasks(deadline)

    def all_tasks(self, deadline: float | None) -> Iterator[Task]:
        """All of them from the start, whatever has been taken before."""
        return self._reader(0).tasks(deadline)
