"""The client: submits jobs and reads their results, from any process on any host.

    with Client("tcp://127.0.0.1:5555") as client:
        job = client.submit(Job("clip", Task("bikes.mp4")), pipeline="video")
        for content in job.stream():
            ...

A job lives at the broker, not in the client: a client may leave, and the same or another one may
:meth:`Client.attach` to the job later.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, Literal

from zturbo.core.stream import ResultStream
from zturbo.errors import (
    DecodeError,
    ResultTimeout,
    TaskError,
    TooLarge,
    UsageError,
    ZturboError,
    by_name,
)
from zturbo.result import Result
from zturbo.runtime.courier import Courier, Subscription
from zturbo.runtime.feeder import Feeder
from zturbo.runtime.sockets import MAX_MESSAGE, Security
from zturbo.task import Job, Task, TaskLog
from zturbo.wire.messages import Results
from zturbo.wire.payload import (
    pack_many,
    pack_meta,
    pack_one,
    unpack_error_map,
    unpack_many,
    unpack_meta,
    unpack_one,
)

__all__ = ["DEFAULT_BROKER", "Client", "JobHandle"]

DEFAULT_BROKER = "tcp://127.0.0.1:5555"

log = logging.getLogger("zturbo.client")

OnError = Literal["raise", "skip", "return"]


class _Reader:
    """Results of one job on their way from the courier's thread to the caller's."""

    def __init__(self, courier: Courier, job: bytes, first: int, at: dict[str, Any] | None) -> None:
        self._courier = courier
        self._ready = threading.Condition()
        self._arrived: deque[tuple[Results, int]] = deque()
        self._error: BaseException | None = None
        self.stream = ResultStream(job, 0, first)
        self._sub = Subscription(self.stream, self._deliver, self._fail)
        courier.subscribe(self._sub)
        if at is not None:
            sub = self._sub
            courier.post(lambda now: courier.place(sub, at))

    def _deliver(self, results: Results, skip: int) -> None:
        with self._ready:
            self._arrived.append((results, skip))
            self._ready.notify()

    def _fail(self, error: BaseException) -> None:
        with self._ready:
            self._error = error
            self._ready.notify()

    def batches(self, deadline: float | None) -> Iterator[tuple[Results, int]]:
        """Results as they come, and how many leading ones to skip; raises what ended the job otherwise."""
        stream = self.stream
        try:
            while True:
                with self._ready:
                    while not self._arrived:
                        if self._error is not None:
                            raise self._error
                        if stream.complete:
                            return
                        left = None if deadline is None else deadline - time.monotonic()
                        if left is not None and left <= 0:
                            raise ResultTimeout(f"not all results were there in time; {stream.taken} were")
                        self._ready.wait(left)
                    results, skip = self._arrived.popleft()
                yield results, skip
        finally:
            self._courier.unsubscribe(self._sub)

    def tasks(self, deadline: float | None) -> Iterator[Task]:
        """Tasks in order, failed ones too."""
        for results, skip in self.batches(deadline):
            fails = dict(results.fails)
            tasks = iter(_tasks(results, results.n - len(fails)))
            for index in range(results.first, results.first + results.n):
                error = fails.get(index)
                task = _failed_task(error) if error is not None else next(tasks)
                if index >= results.first + skip:
                    self.stream.taken = index
                    yield task

    def contents(self, deadline: float | None) -> Iterator[Any]:
        """Contents in order; a failed task comes as a :class:`_Failure`."""
        stream = self.stream
        for results, skip in self.batches(deadline):
            contents = _contents(results, results.n - len(results.fails))
            for index, error in results.fails:
                contents.insert(index - results.first, _Failure(_failed_task(error)))
            taken = results.first + skip
            for content in contents[skip:] if skip else contents:
                stream.taken = taken
                taken += 1
                yield content


class _Failure:
    """A failed task among contents."""

    __slots__ = ("task",)

    def __init__(self, task: Task) -> None:
        self.task = task


def _contents(results: Results, n: int) -> list[Any]:
    if not n:
        return []
    if results.buffers:
        return [unpack_one(results.blob, results.buffers)]
    return unpack_many(results.blob, n)


def _tasks(results: Results, n: int) -> list[Task]:
    tasks = [Task(content) for content in _contents(results, n)]
    if tasks and results.metas is not None:
        for task, packed in zip(tasks, unpack_many(results.metas, n), strict=True):
            if packed is not None:
                task.meta, task.logs = _meta_of(packed)
    return tasks


def _failed_task(packed: bytes) -> Task:
    fields = unpack_error_map(packed)
    kind = by_name(fields["kind"], TaskError)
    where = f"stage {fields['stage']} on {fields['host']}"
    text = f"{fields['type']}: {fields['message']} (in {where}, task {fields['path']})"
    error = TaskError(text, fields["traceback"]) if kind is TaskError else kind(text)
    task = Task()
    task.success = False
    task.error = error
    try:
        task.meta, task.logs = _meta_of(fields["meta"])
    except DecodeError:
        task.meta = {}
    task.meta.setdefault(
        "zturbo", {k: fields[k] for k in ("kind", "type", "message", "stage", "host", "path")}
    )
    return task


def _meta_of(value: Any) -> tuple[dict[Any, Any], list[TaskLog]]:
    meta, logs = unpack_meta(value)
    return (meta if isinstance(meta, dict) else {}), [TaskLog(*log) for log in logs]


class JobHandle:
    """A submitted job.

    Attributes:
        id: 16 bytes; another process may ``attach`` with it.
        name: what it was called.
        failed_tasks: failed tasks that have come so far.
    """

    def __init__(
        self, client: Client, job_id: bytes, name: str, at: dict[str, Any] | None, first: int
    ) -> None:
        self._client = client
        self.id = job_id
        self.name = name
        self._at = at
        self._first = first
        self.failed_tasks: list[Task] = []

    def __repr__(self) -> str:
        return f"<JobHandle {self.name!r} {self.id.hex()}>"

    def stream(self, timeout: float | None = None) -> Iterator[Any]:
        """Contents in order, as soon as the order allows. Failed tasks go to ``failed_tasks``.

        Args:
            timeout: seconds for all of it; None for no limit.

        Raises:
            ResultTimeout: it was not all there in time; the job goes on.
            JobError: the job ended without (all) results.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        at, self._at = self._at, None
        for content in _Reader(self._client._courier, self.id, self._first, at).contents(deadline):
            if type(content) is _Failure:
                self.failed_tasks.append(content.task)
            else:
                yield content

    def tasks(self, timeout: float | None = None) -> Iterator[Task]:
        """Like :meth:`stream`, but tasks with meta and logs, failed ones in their places."""
        deadline = None if timeout is None else time.monotonic() + timeout
        at, self._at = self._at, None
        yield from _Reader(self._client._courier, self.id, self._first, at).tasks(deadline)

    def result(self, timeout: float | None = None) -> Result:
        """All contents in order, once the job is complete.

        Args:
            timeout: seconds to wait; None for no limit.

        Raises:
            ResultTimeout: it was not complete in time; the job goes on.
            JobError: the job ended without a result.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        at, self._at = self._at, None
        result = Result()
        for task in _Reader(self._client._courier, self.id, 0, at).tasks(deadline):
            result.collect(task)
        return result

    def status(self) -> dict[str, Any]:
        """State, epoch, what it waits for, counts per stage: as ``zturbo jobs`` shows it."""
        jobs = self._client.jobs(self.id)
        if not jobs:
            raise UsageError(f"the broker does not know job {self.id.hex()} (any more)")
        return jobs[0]

    def done(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.status()["state"] not in ("waiting", "running")

    def cancel(self) -> bool:
        """End the job now. Returns whether it is cancelled: False if it had ended before."""
        value = self._client._ask({"type": "cancel", "job": self.id})
        return bool(value["state"] == "cancelled")

    def release(self) -> None:
        """Let the job and its results go: nobody can attach to it any more."""
        self._client._ask({"type": "release", "job": self.id})


class Client:
    """A connection to a broker.

    Args:
        broker: its address; default ``$ZTURBO_BROKER``, else ``tcp://127.0.0.1:5555``.
        timeout: seconds that a question to the broker may take.

    Raises:
        BrokerUnavailable: nobody answers there.
        VersionMismatch: the broker speaks another protocol version.
    """

    def __init__(
        self, broker: str | None = None, *, timeout: float = 5.0, security: Security | None = None
    ) -> None:
        self.broker = broker or os.environ.get("ZTURBO_BROKER") or DEFAULT_BROKER
        if "://" not in self.broker:
            raise UsageError(f"{self.broker!r} is no address of the form tcp://HOST:PORT")
        self.timeout = timeout
        self._courier = Courier(self.broker, security)
        try:
            self.info = self._courier.hello(timeout)
        except BaseException:
            self._courier.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave. Jobs go on."""
        self._courier.close()

    def _ask(self, message: dict[str, Any], *frames: Any) -> Any:
        return self._courier.ask(message, *frames, timeout=self.timeout).result()

    def submit(self, job: Job | Task, pipeline: str, **options: Any) -> JobHandle:
        """Submit a job; returns at once when the broker has it in its ledger.

        Args:
            job: a job, or its root task alone.
            pipeline: name of the pipeline.
            options: ``durability`` ("fsync", "process", "memory"), ``order`` ("path"; "meta:KEY", by a
                number from 0 that each output has in its meta; "none", as they come),
                ``priority`` (higher goes first).

        Raises:
            UnknownPipeline: the broker has none of that name.
            EncodeError: the content cannot be carried.
            TooLarge: the content is over the pipeline's limit.
            BrokerUnavailable: the broker does not answer in time.
        """
        if isinstance(job, Task):
            job = Job("job", job)
        blob, buffers = pack_one(job.task.content)
        self._check_size(pipeline, [blob, *buffers])
        packed = pack_meta(job.task._meta, job.task._logs)
        at = self._submit(
            job.id,
            job.name,
            pipeline,
            options,
            stream=False,
            frames=[blob, *buffers],
            meta=None if packed is None else pack_many([packed]),
        )
        return JobHandle(self, job.id, job.name, at, 0)

    def _check_size(self, pipeline: str, frames: list[Any]) -> None:
        """Raise TooLarge for a root over the pipeline's limit: it would never arrive."""
        limit = self.info["max_task_bytes"].get(pipeline, MAX_MESSAGE)
        size = sum(memoryview(frame).nbytes for frame in frames)
        if size > limit:
            raise TooLarge(size, limit)

    def _submit(
        self,
        job_id: bytes,
        name: str,
        pipeline: str,
        options: dict[str, Any],
        *,
        stream: bool,
        frames: list[Any],
        meta: bytes | None = None,
    ) -> dict[str, Any]:
        digest = hashlib.blake2b(f"{name}\0{pipeline}\0{sorted(options.items())}".encode(), digest_size=16)
        for frame in frames:
            digest.update(frame)
        value: dict[str, Any] = self._ask(
            {
                "type": "submit",
                "client": self._courier.identity,
                "job": job_id,
                "name": name,
                "pipeline": pipeline,
                "stream": stream,
                "options": options,
                "meta": meta,
                "digest": digest.digest(),
            },
            *frames,
        )
        return value

    def map(
        self,
        contents: Iterable[Any],
        pipeline: str,
        *,
        ordered: bool = True,
        name: str = "map",
        on_error: OnError = "raise",
        **options: Any,
    ) -> Iterator[Any]:
        """Run each content through the pipeline, as one job of many root tasks.

        Memory is bounded: ``contents`` is read only as far ahead as the pipeline takes it, and the
        results wait on the sink's disk. Closing the iterator ends the job.

        Args:
            contents: any iterable; read in a thread of its own.
            pipeline: name of the pipeline.
            ordered: results in the order of ``contents``; else as they come.
            name: of the job.
            on_error: what a failed task does: ``raise`` its error at its place, ``skip`` it, or
                ``return`` its error among the contents.
            options: as of :meth:`submit`.

        Yields:
            Contents of the pipeline's outputs.
        """
        if not ordered:
            options["order"] = "none"
        job_id = os.urandom(16)
        at = self._submit(job_id, name, pipeline, options, stream=True, frames=[])
        return self._map(contents, job_id, at, on_error, partial(self._check_size, pipeline))

    def _map(
        self,
        contents: Iterable[Any],
        job_id: bytes,
        at: dict[str, Any],
        on_error: OnError,
        check: Callable[[list[Any]], None],
    ) -> Iterator[Any]:
        reader = _Reader(self._courier, job_id, 0, at)
        feeder = Feeder(self._courier, job_id, contents, fail=reader._fail, check=check)
        try:
            for content in reader.contents(None):
                if type(content) is not _Failure:
                    yield content
                elif on_error == "raise":
                    raise content.task.error or TaskError("a task failed")
                elif on_error == "return":
                    yield content.task.error
        finally:
            feeder.close()
            release = self._courier.ask({"type": "release", "job": job_id}, timeout=self.timeout)
            _quietly(release, self.timeout)

    def attach(self, job_id: bytes | str) -> JobHandle:
        """A handle of a job that was submitted before, by anybody.

        ``stream()`` goes on at the cursor; ``result()`` gives everything.

        Args:
            job_id: 16 bytes, or their hexadecimal form.
        """
        raw = bytes.fromhex(job_id) if isinstance(job_id, str) else job_id
        value = self._ask({"type": "attach", "job": raw})
        jobs = self.jobs(raw)
        return JobHandle(self, raw, jobs[0]["name"] if jobs else "", value, -1)

    def jobs(self, job_id: bytes | None = None) -> list[dict[str, Any]]:
        """Status of all jobs that the broker knows, or of one."""
        return list(self.describe(job_id)["jobs"])

    def pipelines(self) -> list[dict[str, Any]]:
        """The broker's pipelines: stages, living workers of each, why some do not start."""
        return list(self.describe()["pipelines"])

    def describe(self, job_id: bytes | None = None) -> dict[str, Any]:
        """What the broker says of itself: ``jobs``, ``pipelines``, and the ``trouble`` it is in, if any."""
        value: dict[str, Any] = self._ask({"type": "jobs", "job": job_id})
        return value


def _quietly(future: Future[Any], timeout: float) -> None:
    try:
        future.result(timeout)
    except (ZturboError, TimeoutError) as error:
        log.debug("not released: %s", error)
