"""An outbatch: a batch, its destination, and the inputs that it came of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from zturbo.slotted import replace, slotted
from zturbo.wire.blobs import slice_blob
from zturbo.wire.messages import Batch, Path, PathRun

__all__ = ["Destination", "OutBatch", "cut", "cut_runs", "part", "paths", "split"]

Destination = Any
"""``(pipeline, stage)`` for any worker of that stage, or an incarnation."""


@slotted
class OutBatch:
    """A batch that is sent and retained as a unit."""

    batch: Batch
    dest: Destination
    origins: tuple[Hashable, ...]
    """Inputs that are not acked before this outbatch is."""
    size: int
    nbytes: int
    hollow: bool = False
    """Whether it has no contents here: its receiver has them, from a sender before this one."""

    @classmethod
    def of(cls, batch: Batch, dest: Destination, origins: tuple[Hashable, ...] = ()) -> OutBatch:
        """Measure a batch and address it."""
        return cls(batch, dest, origins, batch.size, batch.nbytes)


def cut_runs(runs: list[PathRun], start: int, stop: int) -> list[PathRun]:
    """The runs of tasks ``start .. stop``, counted over all runs."""
    out: list[PathRun] = []
    at = 0
    for first, n in runs:
        low, high = max(start - at, 0), min(stop - at, n)
        if low < high:
            out.append(((*first[:-1], first[-1] + low) if low else first, high - low))
        at += n
        if at >= stop:
            break
    return out


def paths(runs: Iterable[PathRun]) -> Iterator[Path]:
    """The path of each task of these runs."""
    for first, n in runs:
        for k in range(n):
            yield (*first[:-1], first[-1] + k) if first else first


def split(outbatch: OutBatch, tasks: int) -> tuple[OutBatch, OutBatch] | None:
    """Cut an outbatch in two, the first part with this size; None where it cannot be cut.

    ENDs, FAILs and the stamp stay with the first part. A batch with out-of-band buffers is not cut: such
    contents are large, so such batches are short.
    """
    batch = outbatch.batch
    keep = tasks - (outbatch.size - batch.n)
    if keep <= 0 or keep >= batch.n or batch.buffers:
        return None
    return cut(outbatch, keep)


def cut(outbatch: OutBatch, index: int) -> tuple[OutBatch, OutBatch]:
    """Cut an outbatch before the task of this index; the first part may be empty, the second is not.

    The first part keeps the batch's number, its ENDs, its FAILs and its stamp.
    """
    batch = outbatch.batch
    if outbatch.hollow:
        return _cut_hollow(outbatch, index)
    if index <= 0:
        first = Batch(batch.job, batch.epoch, batch.stage)
        second = replace(batch, ends=[], fails=[], stamp=None, number=0, sub=0)
    else:
        first, second = (part(batch, start, stop) for start, stop in ((0, index), (index, batch.n)))
    first.ends, first.fails, first.stamp = batch.ends, batch.fails, batch.stamp
    first.number, first.source, first.target, first.sub = batch.number, batch.source, batch.target, batch.sub
    a, b = (OutBatch.of(part, outbatch.dest, outbatch.origins) for part in (first, second))
    return a, b


def _cut_hollow(outbatch: OutBatch, index: int) -> tuple[OutBatch, OutBatch]:
    batch = outbatch.batch
    parts = []
    for start, stop in ((0, index), (index, batch.n)):
        some = replace(batch, runs=cut_runs(batch.runs, start, stop), n=stop - start)
        parts.append(OutBatch(some, outbatch.dest, outbatch.origins, some.n, 0, hollow=True))
    return parts[0], parts[1]


def part(batch: Batch, start: int, stop: int) -> Batch:
    """Tasks ``start .. stop`` of a batch, as a batch of their own."""
    if start == 0 and stop == batch.n:
        return batch
    return Batch(
        job=batch.job,
        epoch=batch.epoch,
        stage=batch.stage,
        runs=cut_runs(batch.runs, start, stop),
        n=stop - start,
        blob=slice_blob(batch.blob, batch.n, start, stop),
        metas=None if batch.metas is None else slice_blob(batch.metas, batch.n, start, stop),
    )
