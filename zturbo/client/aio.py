"""The client for asyncio: a plain client, whose I/O thread wakes the loop.

async with AsyncClient("tcp://127.0.0.1:5555") as client:
    job = await client.submit(Job("clip", Task("bikes.mp4")), pipeline="video")
    async for content in job.stream():
        ...
    async for content in client.map(urls, pipeline="fetch"):
        ...
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent import futures
from functools import partial
from typing import Any, Literal, overload

from zturbo.api.pipeline import Pipeline, PipelineName, name_of
from zturbo.api.stage import In, Out
from zturbo.api.task import Job, Task
from zturbo.checks import check_type, wrong
from zturbo.client.acceptance import Acceptance
from zturbo.client.asyncjob import AsyncJob, AsyncReader, Endings, ask, quietly, settled
from zturbo.client.client import Client, ReturnWhen
from zturbo.client.feeder import Feeder
from zturbo.client.handle import JobHandle, deadline_of
from zturbo.client.hosts import by_host, measurements
from zturbo.client.job_ids import is_job_id, job_id_of, joined, pick_job, with_text_ids
from zturbo.client.reader import Failure
from zturbo.client.submissions import OnError, Submission
from zturbo.errors import ResultTimeout, UsageError
from zturbo.wire.control import to_broker
from zturbo.wire.control.fields import MAX_PAGE

__all__ = ["AsyncClient", "AsyncJob"]


class AsyncClient:
    """A connection to a broker, for asyncio; use it in an ``async with`` statement.

    Args:
        broker: its address; default ``$ZTURBO_BROKER``, else ``tcp://127.0.0.1:5555``.
        timeout: seconds that a question to the broker may take.
        keys: a file of keys, or a folder with one, as ``zturbo keys`` makes them; default ``$ZTURBO_KEYS``,
            else those that a broker of this user on loopback has made, else no keys. A broker on ipc needs
            none.

    Raises:
        AccessDenied: the broker does not let this key in, or it needs one and there is none.
        BrokerUnavailable: no broker answers there (on entering).
    """

    def __init__(
        self,
        broker: str | None = None,
        *,
        timeout: float = 5.0,
        keys: str | os.PathLike[str] | None = None,
    ) -> None:
        self._make: Callable[[], Client] = partial(Client, broker, timeout=timeout, keys=keys)
        self._client: Client | None = None

    async def __aenter__(self) -> AsyncClient:
        self._client = await asyncio.to_thread(self._make)
        return self

    async def __aexit__(self, kind: object, *exc: object) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.__exit__, kind, *exc)

    async def close(self) -> None:
        """Disconnect. Jobs go on."""
        if self._client is not None:
            await asyncio.to_thread(self._client.close)

    @property
    def client(self) -> Client:
        """The client behind it; raises UsageError before ``async with``."""
        if self._client is None:
            raise UsageError("the client is not connected: use it in an async with statement")
        return self._client

    async def submit(
        self, job: Job | Task, pipeline: PipelineName, *, wait: bool = False, **options: Any
    ) -> AsyncJob:
        """As :meth:`zturbo.Client.submit`."""
        client, pipeline = self.client, name_of(pipeline)
        wait = client.connection.submissions.awaits_answer(wait, pipeline)
        if not client.connection.outbox.has_room():
            await asyncio.to_thread(client.connection.outbox.wait_for_room)
        job_id, name, acceptance = client.connection.submit_job(job, pipeline, options)
        if wait:
            await settled(acceptance)
        return AsyncJob(JobHandle(client.connection, job_id, name, acceptance, 0))

    async def submit_many(
        self, jobs: Iterable[Job | Task], pipeline: PipelineName, **options: Any
    ) -> list[AsyncJob]:
        """As :meth:`zturbo.Client.submit_many`."""
        return [await self.submit(job, pipeline, **options) for job in jobs]

    async def flush(self, timeout: float | None = None) -> None:
        """As :meth:`zturbo.Client.flush`."""
        await asyncio.to_thread(self.client.flush, timeout)

    @overload
    def map(
        self,
        contents: Iterable[In] | AsyncIterable[In],
        pipeline: Pipeline[In, Out],
        *,
        ordered: bool = ...,
        name: str = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Any,
    ) -> AsyncGenerator[Out, None]: ...
    @overload
    def map(
        self, contents: Iterable[Any] | AsyncIterable[Any], pipeline: str, **options: Any
    ) -> AsyncGenerator[Any, None]: ...
    def map(
        self,
        contents: Iterable[Any] | AsyncIterable[Any],
        pipeline: Any,
        *,
        ordered: bool = True,
        name: str = "map",
        on_error: OnError = "raise",
        **options: Any,
    ) -> AsyncGenerator[Any, None]:
        """As :meth:`zturbo.Client.map`. A plain iterable is read in a thread, an async one in the loop.

        The job begins when the first result is asked for. It ends with the iterator: at its ``aclose``
        (``contextlib.aclosing`` calls that), or when it is dropped.
        """
        submissions = self.client.connection.submissions
        pipeline = name_of(pipeline)
        submission = submissions.mapping(contents, pipeline, ordered, name, on_error, options)
        return self._map(contents, pipeline, submission, on_error)

    async def _map(
        self, contents: Any, pipeline: str, submission: Submission, on_error: OnError
    ) -> AsyncGenerator[Any, None]:
        connection, job_id = self.client.connection, submission.job
        source = _Source(contents) if hasattr(contents, "__aiter__") else None
        acceptance = connection.submit(submission)
        await settled(acceptance)
        reader = AsyncReader(connection.io, job_id, 0, acceptance, once=True)
        feeder = Feeder(
            connection.io,
            job_id,
            contents if source is None else source,
            fail=reader.fail,
            check=partial(connection.submissions.check_size, pipeline),
        )
        complete = False
        try:
            async for content in reader.contents(None):
                if type(content) is not Failure:
                    yield content
                    continue
                for error in content.take(on_error):
                    yield error
            complete = True
        finally:
            feeder.close()
            if source is not None:
                source.close()
            reader.close()
            if not connection.forked:
                release = to_broker.Release(job=job_id, history=True, complete=complete)
                await quietly(asyncio.wrap_future(connection.send(release)))

    async def attach(self, job_id: bytes | str, *, from_start: bool = False) -> AsyncJob:
        """As :meth:`zturbo.Client.attach`."""
        raw = await self._find("attach: job_id", job_id)
        check_type("attach: from_start", from_start, bool, "True or False")
        value = await ask(self.client.connection, to_broker.Attach(job=raw))
        return AsyncJob(
            JobHandle(self.client.connection, raw, value.name, Acceptance.of(value), 0 if from_start else -1)
        )

    def as_completed(self, jobs: Iterable[AsyncJob], timeout: float | None = None) -> AsyncIterator[AsyncJob]:
        """As :meth:`zturbo.Client.as_completed`."""
        deadline = deadline_of("as_completed: timeout", timeout)
        return self._as_completed(_jobs("as_completed", jobs), deadline)

    async def _as_completed(self, jobs: list[AsyncJob], deadline: float | None) -> AsyncIterator[AsyncJob]:
        endings = Endings(jobs)
        while endings.left:
            ended = await endings.next(deadline)
            if not ended:
                raise ResultTimeout(f"not all jobs ended in time: {len(endings.left)} of {len(jobs)} had not")
            for job in ended:
                yield job

    async def wait_jobs(
        self,
        jobs: Iterable[AsyncJob],
        timeout: float | None = None,
        return_when: ReturnWhen = "ALL_COMPLETED",
    ) -> tuple[set[AsyncJob], set[AsyncJob]]:
        """As :meth:`zturbo.Client.wait_jobs`; returns (done, not done)."""
        found = _jobs("wait_jobs", jobs)
        deadline = deadline_of("wait_jobs: timeout", timeout)
        if return_when not in ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"):
            expected = "'ALL_COMPLETED', 'FIRST_COMPLETED' or 'FIRST_EXCEPTION'"
            raise wrong("wait_jobs: return_when", return_when, expected)
        endings = Endings(found)
        while endings.left:
            ended = await endings.next(deadline)
            failed = any(job.handle.outcome.failed for job in ended)
            if not ended or return_when == "FIRST_COMPLETED" or (failed and return_when == "FIRST_EXCEPTION"):
                break
        return set(found) - set(endings.left), set(endings.left)

    async def _find(self, field: str, job_id: bytes | str | AsyncJob) -> bytes:
        """The id of the job that ``job_id`` names."""
        job_id = job_id.id if isinstance(job_id, AsyncJob) else job_id
        if isinstance(job_id, str) and not is_job_id(job_id):
            return job_id_of(field, pick_job(await self.jobs(), job_id)["id"])
        return job_id_of(field, job_id)

    async def jobs(self, job_id: bytes | str | AsyncJob | None = None) -> list[dict[str, Any]]:
        """Status of all jobs that the broker knows, or of one."""
        return list((await self.describe(job_id))["jobs"])

    async def pipelines(self) -> list[dict[str, Any]]:
        """As :meth:`zturbo.Client.pipelines`."""
        return list((await self.describe(most=0))["pipelines"])

    async def hosts(self) -> list[dict[str, Any]]:
        """As :meth:`zturbo.Client.hosts`."""
        return by_host(await ask(self.client.connection, to_broker.Members()))

    async def telemetry(self) -> dict[str, Any]:
        """As :meth:`zturbo.Client.telemetry`."""
        pages = [await ask(self.client.connection, to_broker.Telemetry())]
        while pages[-1].next:
            pages.append(await ask(self.client.connection, to_broker.Telemetry(after=pages[-1].next)))
        return measurements(pages)

    async def describe(
        self, job_id: bytes | str | AsyncJob | None = None, *, most: int | None = None, after: int = 0
    ) -> dict[str, Any]:
        """As :meth:`zturbo.Client.describe`."""
        raw = None if job_id is None else await self._find("job_id", job_id)
        connection = self.client.connection
        question = connection.io.complete.question
        if raw is not None or most is not None:
            page = question(raw, MAX_PAGE if most is None else most, after)
            return with_text_ids(await ask(connection, page))
        pages = [await ask(connection, question(None))]
        while pages[-1].next:
            pages.append(await ask(connection, question(None, after=pages[-1].next)))
        return with_text_ids(joined(pages))


class _Source:
    """An async iterable, read from another thread, one content after the other."""

    def __init__(self, contents: AsyncIterable[Any]) -> None:
        self._contents = contents.__aiter__()
        self._loop = asyncio.get_running_loop()
        self._next: futures.Future[Any] | None = None
        self._closed = False

    def __iter__(self) -> Iterator[Any]:
        while not self._closed:
            self._next = asyncio.run_coroutine_threadsafe(self._one(), self._loop)
            try:
                content, error = self._next.result()
            except futures.CancelledError:
                if self._closed:
                    return
                raise  # the loop is ending, and the contents have not ended
            if error is not None:
                raise error
            if content is self:
                return
            yield content

    async def _one(self) -> tuple[Any, BaseException | None]:
        """The next content, or the error in its place, which goes to the job's reader and not to the loop."""
        try:
            return await anext(self._contents, self), None
        except BaseException as error:
            if self._closed:
                raise
            return None, error

    def close(self) -> None:
        """Read no more."""
        self._closed = True
        if self._next is not None:
            self._next.cancel()


def _jobs(where: str, jobs: Iterable[AsyncJob]) -> list[AsyncJob]:
    if not isinstance(jobs, Iterable):
        raise wrong(f"{where}: jobs", jobs, "an iterable of jobs, as submit and attach give them")
    found = list(jobs)
    for i, job in enumerate(found):
        check_type(f"{where}: jobs[{i}]", job, AsyncJob, "a job, as submit and attach give it")
    return list(dict.fromkeys(found))
