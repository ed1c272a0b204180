"""Jobs as they are submitted: arguments are checked and contents packed at the call."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from zturbo.api.task import Job, Task
from zturbo.checks import check_text, check_type, plain_options, wrong
from zturbo.client.job_ids import job_id_of
from zturbo.client.tracecontext import with_context
from zturbo.errors import DecodeError, TooLarge, UsageError
from zturbo.runtime.net.sockets import MAX_MESSAGE
from zturbo.wire.control.newjob import NewJob, options_problem
from zturbo.wire.messages import Buffer
from zturbo.wire.payload import NO_META, pack_one, pack_root_meta
from zturbo.wire.traceparent import TRACEPARENT

__all__ = ["OnError", "Small", "Submission", "Submissions"]

OnError = Literal["raise", "skip", "return"]

SMALL = 4096
"""Bytes of a small job's root at most."""

NAME = 200
"""Characters of a small job's name at most."""

LARGE = 64 << 10
"""Bytes from which on a frame of a job's root stands in the digest by its length and CRC-32: a digest of
all of it takes four times as long. The digest tells whether a job comes again with another content."""

_NONE = type(None)

_KINDS = 100
"""Kinds of small jobs that are remembered as checked."""


Kind = tuple[str, str | None, int | None]
"""Pipeline, durability, priority: jobs of one kind may travel together."""


class Small(NamedTuple):
    """A job of one small root, which may travel together with others like it."""

    kind: Kind
    name: str
    blob: bytes
    """Its root's content, packed."""
    meta: bytes | None = None
    """Its root's meta, packed; None if it has none."""

    @property
    def nbytes(self) -> int:
        """Bytes of its name, content and meta."""
        return len(self.name) + len(self.blob) + len(self.meta or b"")

    def submission(self, job_id: bytes) -> Submission:
        """The submission of it as a job of its own, under this id, as it was checked."""
        pipeline, durability, priority = self.kind
        options: dict[str, Any] = {} if durability is None else {"durability": durability}
        if priority is not None:
            options["priority"] = priority
        return _submission(job_id, self.name, pipeline, options, False, [self.blob], self.meta)

    @classmethod
    def together(cls, carrier: bytes, jobs: Sequence[Small]) -> Submission:
        """The submission of several of one kind, as the roots of a carrier with this id."""
        new, _ = jobs[0].submission(carrier)
        blob = b"".join(job.blob for job in jobs)
        names = tuple(job.name for job in jobs)
        if names.count(names[0]) == len(names):
            names = ()
        metas = None
        if any(job.meta for job in jobs):
            metas = b"".join(job.meta or NO_META for job in jobs)
        digest = hashlib.blake2b(new.digest + blob + "\0".join(names).encode(), digest_size=16)
        digest.update(metas or b"")
        new = new.but(digest=digest.digest(), carries=len(jobs), names=names, meta=metas)
        return Submission(new, [blob])


class Submission(NamedTuple):
    """A job that is to be submitted, and its root's frames."""

    new: NewJob
    frames: Sequence[Buffer] = ()

    @property
    def job(self) -> bytes:
        """Its id."""
        return self.new.job


class Submissions:
    """Makes the submissions of one client.

    Args:
        info: the broker's greeting, with its pipelines and their limits.
    """

    def __init__(self, info: dict[str, Any]) -> None:
        self._info = info
        self._sound: set[Kind] = set()
        """Kinds of small jobs that were checked."""

    def job(self, job: Job | Task, pipeline: str, options: dict[str, Any]) -> Submission:
        """Make the submission of a job with its root.

        Raises:
            UsageError: an argument is of a wrong type.
            EncodeError: the root's content cannot be carried.
            TooLarge: the root is over the pipeline's limit.
        """
        if isinstance(job, Task):
            job = Job("job", job)
        if not isinstance(job, Job):
            raise wrong("submit: job", job, "a Job, or a Task: wrap a content, Task(content)")
        self._check_pipeline("submit", pipeline)
        blob, buffers = pack_one(job.task.content, owned=job.task._owned)
        self.check_size(pipeline, [blob, *buffers])
        meta = pack_root_meta(job.task._meta, job.task._logs)
        job_id = job_id_of("submit: job.id", job.id)
        options = plain_options(options)
        return _checked(_submission(job_id, job.name, pipeline, options, False, [blob, *buffers], meta))

    def small(self, job: object, pipeline: str, options: dict[str, Any]) -> Small | None:
        """A job, or its root task, as a small job; None if it is none: :meth:`job` takes it then, and checks
        it. A job that has an id already is none.

        Raises:
            EncodeError: the content cannot be carried.
        """
        name, task = ("job", job) if not isinstance(job, Job) else (job.name, job.task)
        if isinstance(job, Job) and job.has_id:
            return None
        if not isinstance(task, Task) or pipeline not in self._info["pipelines"]:
            return None
        if type(name) is not str or len(name) > NAME:
            return None
        kind: Kind = (pipeline, None, None)
        if options:
            durability, priority = options.get("durability"), options.get("priority")
            if type(durability) not in (str, _NONE) or type(priority) not in (int, _NONE):
                return None
            if len(options) > (durability is not None) + (priority is not None):
                return None
            kind = (pipeline, durability, priority)
        blob, buffers = pack_one(task.content, owned=task._owned)
        if buffers or len(blob) > min(SMALL, self._info["max_task_bytes"].get(pipeline, MAX_MESSAGE)):
            return None
        meta = pack_root_meta(task._meta, task._logs) if task._meta or task._logs else None
        if meta is not None and len(meta) > SMALL:
            return None
        small = Small(kind, name, blob, meta)
        if kind not in self._sound or not name.isascii():
            _checked(small.submission(bytes(16)))
            if len(self._sound) < _KINDS:
                self._sound.add(kind)
        return small

    def mapping(
        self,
        contents: object,
        pipeline: str,
        ordered: bool,
        name: str,
        on_error: OnError,
        options: dict[str, Any],
    ) -> Submission:
        """Make the submission of a streamed job from the arguments of ``map``. Raises UsageError."""
        self._check_pipeline("map", pipeline)
        if not hasattr(contents, "__iter__") and not hasattr(contents, "__aiter__"):
            raise wrong("map: contents", contents, "an iterable of contents")
        check_type("map: ordered", ordered, bool, "True or False")
        name = check_text("map: name", name)
        if on_error not in ("raise", "skip", "return"):
            raise wrong("map: on_error", on_error, "'raise', 'skip' or 'return'")
        if not ordered:
            options["order"] = "none"
        return self.stream(name, pipeline, with_context(options))

    def stream(self, name: str, pipeline: str, options: dict[str, Any]) -> Submission:
        """Make the submission of a streamed job, whose roots are fed later."""
        return _checked(_submission(os.urandom(16), name, pipeline, plain_options(options), True))

    def check_size(self, pipeline: str, frames: list[Any]) -> None:
        """Raise TooLarge for a root over the pipeline's limit: it would never arrive."""
        limit = self._info["max_task_bytes"].get(pipeline, MAX_MESSAGE)
        size = sum(memoryview(frame).nbytes for frame in frames)
        if size > limit:
            raise TooLarge(size, limit)

    def awaits_answer(self, wait: object, pipeline: str) -> bool:
        """Whether ``submit`` waits for the broker: if told to, or for a pipeline that was not there before.

        Raises:
            UsageError: ``wait`` is not a bool.
        """
        check_type("submit: wait", wait, bool, "True or False")
        return bool(wait) or pipeline not in self._info["pipelines"]

    def _check_pipeline(self, where: str, pipeline: str) -> None:
        check_text(f"{where}: pipeline", pipeline, f"the name of one, a str: {list(self._info['pipelines'])}")


def _submission(
    job_id: bytes,
    name: str,
    pipeline: str,
    options: dict[str, Any],
    stream: bool,
    frames: Sequence[Buffer] = (),
    meta: bytes | None = None,
) -> Submission:
    told = sorted([(key, value) for key, value in options.items() if key != TRACEPARENT])
    digest = hashlib.blake2b(f"{name}\0{pipeline}\0{told}".encode(), digest_size=16)
    for frame in frames:
        nbytes = memoryview(frame).nbytes
        digest.update(nbytes.to_bytes(8, "little"))
        digest.update(frame if nbytes < LARGE else zlib.crc32(frame).to_bytes(4, "little"))
    new = NewJob(
        job=job_id,
        name=name,
        pipeline=pipeline,
        stream=stream,
        options=options,
        meta=meta,
        digest=digest.digest(),
        parts=len(frames),
    )
    return Submission(new, frames)


def _checked(submission: Submission) -> Submission:
    """The same submission; raises UsageError if no broker takes it."""
    if problem := options_problem(submission.new.options):
        raise UsageError(problem)
    try:
        NewJob.from_wire(submission.new.to_wire())
    except DecodeError as error:
        raise UsageError(f"a broker does not take this: {error}") from None
    return submission
