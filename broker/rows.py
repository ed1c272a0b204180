"""A job in the broker's memory <-> a job in its ledger."""

from __future__ import annotations

import msgpack

from zturbo.errors import DecodeError
from zturbo.wire.codec import stamp_from_wire, stamp_to_wire
from zturbo.wire.control import Member
from zturbo_broker.job import Chunks, Job
from zturbo_broker.jobs import TRANSITIONS
from zturbo_broker.ledger import JobRow, LedgerCorrupt

__all__ = ["job_of", "member_of", "row_of"]


def job_of(row: JobRow, index: list[tuple[int, int, int, int]]) -> Job:
    """A job of its row and of (seq, first root, roots, bytes) of its chunks.

    Raises:
        LedgerCorrupt: its columns are as they were written, and yet are no job; or roots are missing.
    """
    if row.state not in TRANSITIONS:
        raise LedgerCorrupt(f"job {row.id.hex()} of table job has no state that a job has: {row.state!r}")
    try:
        return _job_of(row, index)
    except (DecodeError, LookupError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise LedgerCorrupt(f"job {row.id.hex()} of table job cannot be read: {error!r}") from None


def member_of(raw: bytes) -> Member:
    """A member of the last view.

    Raises:
        LedgerCorrupt: it is none.
    """
    try:
        return Member.from_wire(msgpack.unpackb(raw, use_list=False, raw=False))
    except (DecodeError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise LedgerCorrupt(f"row 'members' of table meta cannot be read: {error!r}") from None


def _job_of(row: JobRow, index: list[tuple[int, int, int, int]]) -> Job:
    stamp = None
    if row.stamp is not None:
        stamp = stamp_from_wire(msgpack.unpackb(row.stamp, use_list=False, raw=False))
    chunks = Chunks()
    for _, first, n, nbytes in index:
        chunks.append(first, n, nbytes)
    unfinished = row.state in ("waiting", "running")
    if unfinished and row.closed and chunks.total != row.total:
        raise LedgerCorrupt(f"job {row.id.hex()} has {chunks.total} of its {row.total} roots in table chunk")
    job = Job(
        id=row.id,
        name=row.name,
        pipeline=row.pipeline,
        client=row.client,
        stream=row.stream,
        options=msgpack.unpackb(row.options, raw=False),
        digest=row.digest,
        state=row.state,
        epoch=row.epoch,
        created=row.created,
        chunks=chunks,
        total=chunks.total if unfinished else row.total,
        closed=row.closed,
        stamp=stamp,
        results=row.results,
        failed=row.failed,
        error=row.error,
        error_kind=row.error_kind,
    )
    if row.notes is not None:
        job.take_notes(msgpack.unpackb(row.notes, raw=False))
    return job


def row_of(job: Job, ended: float | None = None) -> JobRow:
    """A job's row; ``ended`` is wall time."""
    return JobRow(
        id=job.id,
        name=job.name,
        pipeline=job.pipeline,
        client=job.client,
        state=job.state,
        epoch=job.epoch,
        options=msgpack.packb(job.options),
        digest=job.digest,
        stream=job.stream,
        closed=job.closed,
        total=job.total,
        stamp=None if job.stamp is None else msgpack.packb(stamp_to_wire(job.stamp)),
        created=job.created,
        ended=ended,
        results=job.results,
        failed=job.failed,
        error_kind=job.error_kind,
        error=job.error,
        notes=msgpack.packb(job.notes()),
    )
