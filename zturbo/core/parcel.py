"""A parcel: a batch on its way to somewhere, and the inputs that it came of."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from zturbo.wire.messages import Batch, Run
from zturbo.wire.payload import slice_blob

__all__ = ["Destination", "Parcel", "cut_runs", "split"]

Destination = Any
"""``(pipeline, stage)`` for any worker of that stage, or an incarnation."""


@dataclass(slots=True)
class Parcel:
    """What an outlet sends and retains as a unit."""

    batch: Batch
    dest: Destination
    origins: tuple[Hashable, ...]
    """Inputs whose custody waits for this parcel's ack."""
    size: int
    nbytes: int

    @classmethod
    def of(cls, batch: Batch, dest: Destination, origins: tuple[Hashable, ...] = ()) -> Parcel:
        """Measure a batch and address it."""
        return cls(batch, dest, origins, batch.size, batch.nbytes)


def cut_runs(runs: list[Run], start: int, stop: int) -> list[Run]:
    """The runs of tasks ``start .. stop``, counted over all runs."""
    out: list[Run] = []
    at = 0
    for first, n in runs:
        low, high = max(start - at, 0), min(stop - at, n)
        if low < high:
            out.append(((*first[:-1], first[-1] + low) if low else first, high - low))
        at += n
        if at >= stop:
            break
    return out


def split(parcel: Parcel, tasks: int) -> tuple[Parcel, Parcel] | None:
    """Cut a parcel in two, the first with this many tasks; None where it cannot be cut.

    Records that are no tasks stay with the first part. A batch with out-of-band buffers is
    whole: such contents are large, so batches of them are short.
    """
    batch = parcel.batch
    keep = tasks - (parcel.size - batch.n)
    if keep <= 0 or keep >= batch.n or batch.buffers:
        return None
    parts = []
    for start, stop in ((0, keep), (keep, batch.n)):
        metas = batch.metas
        part = Batch(
            job=batch.job,
            epoch=batch.epoch,
            stage=batch.stage,
            runs=cut_runs(batch.runs, start, stop),
            n=stop - start,
            blob=slice_blob(batch.blob, batch.n, start, stop),
            metas=None if metas is None else slice_blob(metas, batch.n, start, stop),
        )
        parts.append(part)
    parts[0].ends = batch.ends
    parts[0].fails = batch.fails
    first, second = (Parcel.of(part, parcel.dest, parcel.origins) for part in parts)
    return first, second
