"""What an asyncio client has of a job: its results to be awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterable
from concurrent import futures
from typing import Any

from zturbo.api.result import Result
from zturbo.api.task import Task
from zturbo.checks import check_timeout
from zturbo.client.connection import Connection
from zturbo.client.handle import JobHandle, deadline_of
from zturbo.client.io import ClientIO
from zturbo.client.job_ids import with_text_ids
from zturbo.client.reader import Failure, Reader, contents_of, tasks_of
from zturbo.errors import JobError, ResultTimeout, ZturboError
from zturbo.jobstates import LIVE
from zturbo.wire.control import answers, to_broker
from zturbo.wire.control.message import Answer, Request
from zturbo.wire.messages import Results

__all__ = ["AsyncJob", "AsyncReader", "Endings", "ask", "quietly"]


class AsyncReader(Reader):
    """A reader whose results are awaited."""

    def __init__(
        self, io: ClientIO, job: bytes, first: int, at: answers.Whereabouts | None, *, tell: bool = False
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        super().__init__(io, job, first, at, tell=tell)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def arriving(self, deadline: float | None) -> AsyncIterator[tuple[Results, int]]:
        """As :meth:`Reader.batches`."""
        try:
            while True:
                self._io.check_process()
                while not self._arrived:
                    if self._over():
                        return
                    # What comes from here on sets it again, in a later turn of the loop.
                    self._event.clear()
                    left = None if deadline is None else max(0.0, deadline - time.monotonic())
                    try:
                        await asyncio.wait_for(self._event.wait(), left)
                    except asyncio.TimeoutError:
                        raise self._late() from None
                yield self._arrived.popleft()
        finally:
            self.close()

    async def all_contents(self, deadline: float | None) -> AsyncIterator[Any]:
        """As :meth:`Reader.contents`."""
        async for results, skip in self.arriving(deadline):
            for taken, content in enumerate(contents_of(results)[skip:], results.first + skip):
                self.stream.taken = taken
                yield content

    async def all_tasks(self, deadline: float | None) -> AsyncIterator[Task]:
        """As :meth:`Reader.tasks`."""
        async for results, skip in self.arriving(deadline):
            for taken, task in enumerate(tasks_of(results)[skip:], results.first + skip):
                self.stream.taken = taken
                yield task


class AsyncJob:
    """A submitted job: what :class:`zturbo.JobHandle` is, for asyncio.

    ``await job`` is ``await job.result()``. In an ``async with`` statement it is released at the end: a job
    that is not done by then is cancelled.

    Attributes:
        handle: the handle behind it.
        id: 32 hexadecimal digits; another process may ``attach`` with it.
        name: what it was called.
        failed_tasks: failed tasks that have come so far.
    """

    def __init__(self, handle: JobHandle) -> None:
        self.handle = handle
        self.id = handle.id
        self.name = handle.name
        self.failed_tasks = handle.failed_tasks
        self._collecting = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<AsyncJob {self.name!r} {self.id}>"

    def __await__(self) -> Generator[Any, None, Result]:
        return self.result().__await__()

    async def __aenter__(self) -> AsyncJob:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await quietly(self.release())

    def _reader(self, first: int, *, tell: bool = False) -> AsyncReader:
        return AsyncReader(
            self.handle._connection.io, self.handle._raw_id, first, self.handle._whereabouts(), tell=tell
        )

    def stream(self, timeout: float | None = None) -> AsyncIterator[Any]:
        """As :meth:`zturbo.JobHandle.stream`."""
        return self._contents(deadline_of("stream: timeout", timeout))

    async def _contents(self, deadline: float | None) -> AsyncIterator[Any]:
        self.handle._streamed = True
        reader = self._reader(self.handle._first, tell=True)
        try:
            async for content in reader.all_contents(deadline):
                if type(content) is Failure:
                    self.failed_tasks.append(content.task)
                else:
                    yield content
        finally:
            reader.close()

    def tasks(self, timeout: float | None = None) -> AsyncIterator[Task]:
        """As :meth:`zturbo.JobHandle.tasks`."""
        return self._tasks(deadline_of("tasks: timeout", timeout))

    async def _tasks(self, deadline: float | None) -> AsyncIterator[Task]:
        self.handle._streamed = True
        reader = self._reader(self.handle._first, tell=True)
        try:
            async for task in reader.all_tasks(deadline):
                yield task
        finally:
            reader.close()

    async def result(self, timeout: float | None = None) -> Result:
        """As :meth:`zturbo.JobHandle.result`."""
        deadline = deadline_of("result: timeout", timeout)
        handle = self.handle
        async with self._collecting:
            if handle._collected is None:
                if handle._settled:
                    handle._raise_outcome()
                result = Result()
                try:
                    async for task in self._reader(0).all_tasks(deadline):
                        result.collect(task)
                except JobError as error:
                    handle._note(error)
                    raise
                handle._take(result)
        assert handle._collected is not None
        return handle._collected

    async def exception(self, timeout: float | None = None) -> BaseException | None:
        """As :meth:`zturbo.JobHandle.exception`."""
        check_timeout("exception: timeout", timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        if not await Endings([self]).next(deadline):
            raise ResultTimeout("the job had not ended in time")
        return self.handle.exception(0)

    async def status(self) -> dict[str, Any]:
        """As :meth:`zturbo.JobHandle.status`."""
        connection = self.handle._connection
        value = await ask(connection, connection.io.complete.question(self.handle._raw_id))
        return self.handle._told(with_text_ids(value)["jobs"])

    async def done(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.handle._settled or self.handle._look(await self.status()) not in LIVE

    async def running(self) -> bool:
        """Whether it has its workers, and has not ended."""
        return not self.handle._settled and self.handle._look(await self.status()) == "running"

    async def cancelled(self) -> bool:
        """Whether somebody cancelled it."""
        if not self.handle._settled:
            self.handle._look(await self.status())
        return self.handle._settled and self.handle.cancelled()

    async def cancel(self) -> bool:
        """As :meth:`zturbo.JobHandle.cancel`."""
        if self.handle._settled:
            return self.handle.cancelled()
        return self.handle._cancelled(
            await ask(self.handle._connection, to_broker.Cancel(job=self.handle._raw_id))
        )

    async def release(self) -> None:
        """As :meth:`zturbo.JobHandle.release`."""
        await ask(self.handle._connection, to_broker.Release(job=self.handle._raw_id))

    async def retry_failed(self, timeout: float | None = None, **options: Any) -> AsyncJob:
        """As :meth:`zturbo.JobHandle.retry_failed`."""
        return AsyncJob(await asyncio.to_thread(self.handle.retry_failed, timeout, **options))


class Endings:
    """Wakes the loop when jobs end.

    Args:
        jobs: that are watched.
    """

    def __init__(self, jobs: Iterable[AsyncJob]) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self.left = list(jobs)
        """Those whose end was not told yet."""
        for job in self.left:
            job.handle._when_settled(self._wake)

    def _wake(self, handle: futures.Future[Result]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def next(self, deadline: float | None) -> list[AsyncJob]:
        """Those that have ended meanwhile, once one has; none if the time is over."""
        while not (ended := [job for job in self.left if job.handle._settled]):
            self._event.clear()
            left = None if deadline is None else deadline - time.monotonic()
            try:
                if left is not None and left <= 0:
                    return []
                await asyncio.wait_for(self._event.wait(), left)
            except asyncio.TimeoutError:
                return []
        self.left = [job for job in self.left if job not in ended]
        return ended


async def ask(connection: Connection, message: Request[Answer]) -> Answer:
    return await asyncio.wrap_future(connection.send(message))


async def quietly(call: Any) -> None:
    try:
        await asyncio.shield(call)
    except ZturboError:
        pass  # it was to be let go of, and is gone with its client
