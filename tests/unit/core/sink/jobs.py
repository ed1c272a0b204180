"""A job at a sink, for tests of the sink's parts."""

from __future__ import annotations

from typing import Any

from zturbo.core.sink.job import SinkJob
from zturbo.wire.messages import Batch, End, Fail, Path, Stamp
from zturbo.wire.payload import failure_origin, pack_error, pack_many

__all__ = ["JOB", "ME", "a_batch", "a_fail", "a_job", "enter", "stamp"]

ME, JOB = b"m" * 16, b"j" * 16


def stamp(epoch: int = 1, ordered: dict[int, bytes] | None = None, **fields: Any) -> Stamp:
    """Of a job that this sink has."""
    return Stamp(JOB, epoch, "p", ordered or {}, ME, **fields)


def a_job(**fields: Any) -> SinkJob:
    """A job with a stamp of these fields."""
    return SinkJob.of(stamp(**fields), "host")


def a_batch(*values: int, first: int = 0, ends: int | None = None, fails: tuple[Fail, ...] = ()) -> Batch:
    """Results of a stream, from this root on: of each root one; and perhaps how many roots there are."""
    runs = [((first,), len(values))] if values else []
    whole = [] if ends is None else [End((), ends)]
    blob = pack_many(list(values)) if values else b""
    return Batch(JOB, 1, 1, runs, len(values), blob, ends=whole, fails=list(fails))


def a_fail(path: Path, stage: int = 0) -> Fail:
    """A task that failed in this stage."""
    fields = {"kind": "TaskError", "type": "ValueError", "message": "no", "stage": "s", "host": "h"}
    return Fail(path, 0, pack_error({**fields, "index": stage, "path": list(path)}))


def enter(job: SinkJob, token: int, batch: Batch, now: float = 0.0) -> bool:
    """The batch is safe, and enters."""
    return job.enter(token, batch, failure_origin, now)
