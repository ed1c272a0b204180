"""The rows of the ledger, and how jobs in the broker's memory are made of rows and rows of jobs."""

from __future__ import annotations

import msgpack

from zturbo.errors import ZturboError
from zturbo.errortext import error_text
from zturbo.jobstates import ENDED, LIVE, JobState
from zturbo.slotted import slotted
from zturbo.wire.control.view import Member
from zturbo.wire.messages import NOTHING_TAKEN, Batch, Buffer, PathRun
from zturbo.wire.stamps import stamp_from_wire, stamp_to_wire
from zturbo_broker.jobs.job import Chunks, Job

__all__ = [
    "ChunkRow",
    "JobRow",
    "LedgerCorrupt",
    "RowUnreadable",
    "batch_of",
    "job_of",
    "member_of",
    "pack",
    "row_of",
]


pack = msgpack.Packer().pack
"""Packs a small value. ``msgpack.packb`` makes a packer, with memory of its own, for each value."""


class LedgerCorrupt(ZturboError):
    """A row is not as it was written; no broker uses it."""


@slotted
class JobRow:
    """A job as the ledger has it."""

    id: bytes
    name: str
    pipeline: str
    client: bytes
    state: str
    epoch: int
    options: bytes
    """Packed map."""
    digest: bytes
    stream: bool
    closed: bool
    total: int
    stamp: bytes | None
    created: float
    """Wall time."""
    ended: float | None
    results: int
    failed: int
    error_kind: str | None
    error: str | None
    notes: bytes | None = None
    """Packed map: all that ``Job.notes`` gives."""
    number: int = 0
    """Its place in the order of submission. The checksum is without it."""


@slotted
class ChunkRow:
    """A chunk of roots."""

    job: bytes
    seq: int
    first: int
    """-1 for a job's single root."""
    n: int
    blob: bytes
    metas: bytes | None
    buffers: list[Buffer]


def batch_of(row: ChunkRow) -> Batch:
    """The roots of a chunk, as a batch without an epoch."""
    runs: list[PathRun] = [((), 1)] if row.first < 0 else [((row.first,), row.n)]
    return Batch(row.job, 0, 0, runs, row.n, row.blob, row.metas, list(row.buffers))


class RowUnreadable(LedgerCorrupt):
    """A row is as it was written, and makes no sense: a broker goes on without it."""


def job_of(row: JobRow, index: list[tuple[int, int, int, int]]) -> Job:
    """Make a job of its row and of (seq, first root, roots, bytes) of its chunks.

    Raises:
        RowUnreadable: the row is as it was written, and yet no job can be made of it.
        LedgerCorrupt: roots are missing.
    """
    if row.state not in LIVE | ENDED:
        raise RowUnreadable(f"job {row.id.hex()} of table job has no state that a job has: {row.state!r}")
    try:
        return _job_of(row, index)
    except LedgerCorrupt:
        raise
    except Exception as error:  # no list of what a row may raise is ever complete
        raise RowUnreadable(
            f"job {row.id.hex()} of table job cannot be read: {error_text(error, 300)}"
        ) from None


def member_of(raw: bytes) -> Member:
    """Make a member of its packed record in the last view.

    Raises:
        RowUnreadable: no member can be made of it.
    """
    try:
        fields = msgpack.unpackb(raw, use_list=False, raw=False)
        if len(fields) == 12:  # of a zturbo that knew nothing of keys
            fields = (*fields, "")
        if len(fields) == 13:  # of a zturbo whose jobs did not travel together
            fields = (*fields, True)
        return Member.from_wire(fields)
    except Exception as error:  # no list of what a row may raise is ever complete
        raise RowUnreadable(f"row 'members' of table meta cannot be read: {error_text(error, 200)}") from None


def _job_of(row: JobRow, index: list[tuple[int, int, int, int]]) -> Job:
    stamp = None
    if row.stamp is not None:
        fields = msgpack.unpackb(row.stamp, use_list=False, raw=False)
        if len(fields) == 15:  # of a zturbo that knew nothing of codes
            fields = (*fields, ())
        if len(fields) == 16:  # of a zturbo that knew nothing of keys
            fields = (*fields, "")
        if len(fields) == 17:  # of a zturbo that kept all roots until the end
            fields = (*fields, False, NOTHING_TAKEN)
        stamp = stamp_from_wire(fields)
    notes = {} if row.notes is None else msgpack.unpackb(row.notes, raw=False)
    chunks = Chunks()
    unfinished = row.state in LIVE
    if unfinished:
        chunks.trimmed, chunks.start = notes.get("trimmed", (0, 0))
    for seq, first, n, nbytes in index:
        if seq != len(chunks) or first != (chunks.total if seq else first):
            raise LedgerCorrupt(f"job {row.id.hex()}: chunk {len(chunks)} is not in table chunk")
        chunks.append(first, n, nbytes)
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
        state=JobState(row.state),
        epoch=row.epoch,
        created=row.created,
        ended=row.ended or 0.0,
        chunks=chunks,
        total=chunks.total if unfinished else row.total,
        closed=row.closed,
        stamp=stamp,
        reader=0 if stamp is None else stamp.token,
        results=row.results,
        failed=row.failed,
        error=row.error,
        error_kind=row.error_kind,
        number=row.number,
        logged=(JobState(row.state), row.epoch),
    )
    if row.notes is not None:
        job.take_notes(notes)
    return job


def row_of(job: Job, ended: float | None = None) -> JobRow:
    """Make a job's row; ``ended`` is wall time."""
    return JobRow(
        id=job.id,
        name=job.name,
        pipeline=job.pipeline,
        client=job.client,
        state=str(job.state),
        epoch=job.epoch,
        options=pack(job.options),
        digest=job.digest,
        stream=job.stream,
        closed=job.closed,
        total=job.total,
        stamp=None if job.stamp is None else pack(stamp_to_wire(job.stamp)),
        created=job.created,
        ended=ended,
        results=job.results,
        failed=job.failed,
        error_kind=job.error_kind,
        error=job.error,
        notes=pack(job.notes()),
        number=job.number,
    )
