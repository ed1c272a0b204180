"""Roots on their way out: chunks of them, in memory or on the ledger's disk, sent as credit allows.

A slice of one job's roots goes at each turn, no larger than the first stage has credit for, so that a
large job does not get ahead of a small one by standing in a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.dispatch import FairQueue
from broker.job import Job
from zturbo.core.effects import Effect, Load, Record
from zturbo.core.outlet import Outlet
from zturbo.core.parcel import Destination, Parcel, split
from zturbo.wire.messages import Batch, End

__all__ = ["Roots"]

SLICE = 512
"""Roots in one parcel at most."""

CACHE_BYTES = 32 << 20
"""Chunks of roots that are kept in memory until they are sent; the others are read again."""

BACKLOG_BYTES = 16 << 20
"""Bytes of a job's roots that may wait before its feeder is held back."""

BACKLOG_TASKS = 1 << 16


class Roots:
    """The roots of all jobs.

    Args:
        outlet: the links to first stages, and to those who get a stream's END.
        effects: where what is to be done is appended.
        acknowledge: answers a feed that was held back.
    """

    def __init__(
        self, outlet: Outlet, effects: list[Effect], acknowledge: Callable[[bytes, int, Any], None]
    ) -> None:
        self.outlet = outlet
        self.effects = effects
        self._acknowledge = acknowledge
        self.cached = 0
        """Bytes of chunks in memory."""

    def add(self, job: Job, first: int, n: int, roots: Batch) -> None:
        """A chunk has come: record it, and keep it at hand if there is room."""
        seq = len(job.chunks)
        nbytes = roots.nbytes
        job.chunks.append(first, n, nbytes)
        job.backlog_bytes += nbytes
        job.backlog_tasks += n
        self.effects.append(Record("put_chunk", (job.id, seq, first, n, roots)))
        if self.cached + nbytes <= CACHE_BYTES:
            job.cache[seq] = roots
            self.cached += nbytes

    def crowded(self, job: Job) -> bool:
        """Whether the job's feeder is to be held back."""
        return job.backlog_bytes > BACKLOG_BYTES or job.backlog_tasks > BACKLOG_TASKS

    def rewind(self, job: Job) -> None:
        """All of the job's roots go again."""
        job.next_chunk, job.next_root, job.ended_roots = 0, 0, False
        job.backlog_tasks = job.chunks.total
        job.backlog_bytes = job.chunks.nbytes

    def drop(self, job: Job) -> None:
        """The job has ended."""
        self.outlet.forget(job.id)
        for batch in job.cache.values():
            self.cached -= batch.nbytes
        job.cache.clear()

    def loaded(self, job: Job, seq: int, roots: Batch) -> None:
        """A chunk was read from the ledger."""
        if seq not in job.loading:
            return
        job.loading.discard(seq)
        if job.state == "running" and seq == job.next_chunk:
            job.cache[seq] = roots
            self.cached += roots.nbytes

    def dispatch(self, queue: FairQueue, jobs: dict[bytes, Job], stages: int, now: float) -> None:
        """Turns go round one pipeline's jobs, as long as something can be sent."""
        idle = 0
        while idle < len(queue):
            name = queue.next()
            assert name is not None
            idle = 0 if self._send_some(jobs[name], queue, stages, now) else idle + 1

    def _destination(self, job: Job, stage: int) -> Destination:
        assert job.stamp is not None
        return job.stamp.ordered.get(stage) or (job.pipeline, stage)

    def _send_some(self, job: Job, queue: FairQueue, stages: int, now: float) -> bool:
        """Give the job its turn: one slice of roots. False if there was nothing that could be sent."""
        if job.next_chunk >= len(job.chunks):
            if job.closed:
                self._send_end(job, stages)
            queue.remove(job.id)
            return False
        dest = self._destination(job, 0)
        room = min(SLICE, self.outlet.credit(dest))
        if room <= 0:
            return False
        chunk = job.cache.get(job.next_chunk)
        if chunk is None:
            if job.next_chunk not in job.loading:
                job.loading.add(job.next_chunk)
                self.effects.append(Load(job.id, job.next_chunk))
            return False
        first, n, nbytes = job.chunks[job.next_chunk]
        left = n - job.next_root
        batch = Batch(job.id, job.epoch, 0, _runs(first, n), n, chunk.blob, chunk.metas, list(chunk.buffers))
        parcel = Parcel.of(batch, dest)
        if job.next_root:
            halves = split(parcel, job.next_root)
            assert halves is not None
            parcel = halves[1]
        if left > room:
            halves = split(parcel, room)
            if halves is not None:
                parcel = halves[0]
        job.next_root += parcel.size
        job.backlog_tasks -= parcel.size
        if job.next_root >= n:
            del job.cache[job.next_chunk]
            self.cached -= chunk.nbytes
            job.backlog_bytes -= nbytes
            job.next_chunk += 1
            job.next_root = 0
            self._free_acks(job)
        self.outlet.put(parcel)
        self.outlet.pump(now)
        return True

    def _free_acks(self, job: Job) -> None:
        if not self.crowded(job):
            for identity, ref in job.held_acks:
                self._acknowledge(identity, ref, {"fed": len(job.chunks)})
            job.held_acks.clear()

    def _send_end(self, job: Job, stages: int) -> None:
        if not job.stream or job.ended_roots:
            return
        assert job.stamp is not None
        job.ended_roots = True
        stage = min(job.stamp.ordered, default=stages)
        dest = job.stamp.sink if stage == stages else self._destination(job, stage)
        batch = Batch(job.id, job.epoch, stage, ends=[End((), job.total)])
        self.outlet.put(Parcel.of(batch, dest))


def _runs(first: int, n: int) -> list[tuple[tuple[int, ...], int]]:
    return [((), 1)] if first < 0 else [((first,), n)]
