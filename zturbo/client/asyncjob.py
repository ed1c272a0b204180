"""Jobs of the asyncio client: handles and readers whose results are awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterable
from concurrent import futures
from typing import Any

from zturbo.api.result import Result
from zturbo.api.task import Task
from zturbo.checks import check_timeout, check_type
from zturbo.client.acceptance import Acceptance
from zturbo.client.connection import Connection
from zturbo.client.handle import JobHandle, deadline_of
from zturbo.client.incoming import Incoming
from zturbo.client.io import ClientIO
from zturbo.client.reader import Failure, contents_of, tasks_of
from zturbo.errors import JobError, ResultTimeout, ZturboError
from zturbo.jobstates import LIVE
from zturbo.wire.control import answers, to_broker
from zturbo.wire.control.message import Answer, Request
from zturbo.wire.messages import Results

__all__ = ["AsyncJob", "AsyncReader", "Endings", "ask", "quietly", "settled"]


class AsyncReader:
    """As :class:`~zturbo.client.reader.Reader`; its results are awaited."""

    def __init__(
        self,
        io: ClientIO,
        job: bytes,
        first: int,
        accepted: Acceptance,
        *,
        tell: bool = False,
        once: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._incoming = Incoming(io, job, first, accepted, self._wake, tell=tell, once=once)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    def fail(self, error: BaseException) -> None:
        """As :meth:`Reader.fail`."""
        self._incoming.fail(error)

    def close(self) -> None:
        """Stop reading."""
        self._incoming.close()

    async def batches(self, deadline: float | None) -> AsyncIterator[tuple[Results, int]]:
        """As :meth:`Reader.batches`."""
        incoming = self._incoming
        try:
            while True:
                incoming.check_process()
                incoming.ask_on()
                while not incoming.arrived:
                    # Results that come from here on set it again, in a later turn of the loop.
                    self._event.clear()
                    left = None if deadline is None else max(0.0, deadline - time.monotonic())
                    try:
                        await asyncio.wait_for(self._event.wait(), left)
                    except asyncio.TimeoutError:
                        raise await self._late() from None
                part = incoming.take()
                if part is None:
                    return
                yield part
        finally:
            self.close()

    async def _late(self) -> ResultTimeout:
        """The error where the time is over, with what the broker says of the job."""
        try:
            told = await asyncio.wrap_future(self._incoming.ask())
        except ZturboError:
            told = None
        return self._incoming.late(told)

    async def contents(self, deadline: float | None) -> AsyncIterator[Any]:
        """As :meth:`Reader.contents`."""
        async for results, skip in self.batches(deadline):
            for taken, content in enumerate(contents_of(results)[skip:], results.first + skip):
                self._incoming.stream.taken = taken
                yield content

    async def tasks(self, deadline: float | None) -> AsyncIterator[Task]:
        """As :meth:`Reader.tasks`."""
        async for results, skip in self.batches(deadline):
            for taken, task in enumerate(tasks_of(results)[skip:], results.first + skip):
                self._incoming.stream.taken = taken
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
        self._reading = handle.reading
        self._outcome = handle.outcome
        self._collecting = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<AsyncJob {self.name!r} {self.id}>"

    def __await__(self) -> Generator[Any, None, Result]:
        return self.result().__await__()

    async def __aenter__(self) -> AsyncJob:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await quietly(self.release())

    async def accepted(self, timeout: float | None = None) -> AsyncJob:
        """As :meth:`zturbo.JobHandle.accepted`."""
        await asyncio.to_thread(self.handle.accepted, timeout)
        return self

    async def _ask(self, message: Request[Answer]) -> Answer:
        """Ask the broker about the job, once it has it."""
        await settled(self._reading.acceptance)
        return await asyncio.wrap_future(self._reading.connection.send(message))

    def _reader(self, first: int, *, tell: bool = False, once: bool = False) -> AsyncReader:
        reading = self._reading
        return AsyncReader(
            reading.connection.io, reading.job, first, reading.acceptance, tell=tell, once=once
        )

    def stream(self, timeout: float | None = None, *, keep: bool = True) -> AsyncIterator[Any]:
        """As :meth:`zturbo.JobHandle.stream`."""
        check_type("stream: keep", keep, bool, "True or False")
        return self._contents(deadline_of("stream: timeout", timeout), keep)

    async def _contents(self, deadline: float | None, keep: bool) -> AsyncIterator[Any]:
        self._reading.streamed = True
        reader = self._reader(self._reading.first, tell=True, once=not keep)
        try:
            async for content in reader.contents(deadline):
                if type(content) is Failure:
                    self.failed_tasks.append(content.task)
                else:
                    yield content
        finally:
            reader.close()

    def tasks(self, timeout: float | None = None, *, keep: bool = True) -> AsyncIterator[Task]:
        """As :meth:`zturbo.JobHandle.tasks`."""
        check_type("tasks: keep", keep, bool, "True or False")
        return self._tasks(deadline_of("tasks: timeout", timeout), keep)

    async def _tasks(self, deadline: float | None, keep: bool) -> AsyncIterator[Task]:
        self._reading.streamed = True
        reader = self._reader(self._reading.first, tell=True, once=not keep)
        try:
            async for task in reader.tasks(deadline):
                yield task
        finally:
            reader.close()

    async def result(self, timeout: float | None = None) -> Result:
        """As :meth:`zturbo.JobHandle.result`."""
        deadline = deadline_of("result: timeout", timeout)
        async with self._collecting:
            result = self._reading.result
            if result is not None:
                return result
            if (ended := self._outcome.error) is not None:
                raise ended
            result = Result()
            try:
                async for task in self._reader(0).tasks(deadline):
                    result.collect(task)
            except JobError as error:
                self._outcome.reading_ended(error)
                raise
            self._outcome.collected(result)
            return result

    async def exception(self, timeout: float | None = None) -> BaseException | None:
        """As :meth:`zturbo.JobHandle.exception`."""
        timeout = check_timeout("exception: timeout", timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        if not await Endings([self]).next(deadline):
            try:
                told = await asyncio.wrap_future(self.handle.outcome.ask())
            except ZturboError:
                told = None
            raise self.handle.outcome.late(told)
        return self.handle.exception(0)

    async def status(self) -> dict[str, Any]:
        """As :meth:`zturbo.JobHandle.status`."""
        question = self._reading.connection.io.complete.question(self._reading.job)
        return self._outcome.status(await self._ask(question))

    async def done(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self._outcome.heard() or self._outcome.state(await self.status()) not in LIVE

    async def running(self) -> bool:
        """Whether it has its workers, and has not ended."""
        return not self._outcome.heard() and self._outcome.state(await self.status()) == "running"

    async def cancelled(self) -> bool:
        """Whether a client cancelled it."""
        if not self._outcome.heard():
            self._outcome.state(await self.status())
        return self._outcome.cancelled

    async def cancel(self) -> bool:
        """As :meth:`zturbo.JobHandle.cancel`."""
        if self._outcome.heard():
            return self._outcome.cancelled
        answer = await self._ask(to_broker.Cancel(job=self._reading.job))
        return self._outcome.after_cancel(answer)

    async def release(self) -> None:
        """As :meth:`zturbo.JobHandle.release`."""
        await self._ask(to_broker.Release(job=self._reading.job))

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
        """Jobs whose end was not told yet."""
        for job in self.left:
            job.handle.outcome.when_settled(self._wake)

    def _wake(self, handle: futures.Future[Result]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def next(self, deadline: float | None) -> list[AsyncJob]:
        """Jobs that have ended meanwhile, once one has; none if the time is over."""
        while not (ended := [job for job in self.left if job.handle.outcome.settled]):
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
    """As :meth:`zturbo.client.connection.Connection.ask`."""
    if connection.outbox.waiting:
        await asyncio.to_thread(connection.outbox.wait_for_answers)
    return await asyncio.wrap_future(connection.send(message))


async def settled(acceptance: Acceptance) -> answers.Whereabouts:
    """The broker's answer to a job. A task that is cancelled meanwhile does not cancel that for others."""
    return await asyncio.shield(asyncio.wrap_future(acceptance))


async def quietly(call: Any) -> None:
    try:
        await asyncio.shield(call)
    except ZturboError:
        pass  # the broker is away or the client is closed: the caller leaves all the same
