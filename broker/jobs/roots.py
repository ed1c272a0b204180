"""Roots on their way out: chunks of them, in memory or on the ledger's disk, sent as credit allows.

At each turn a slice of one job's roots is sent, no larger than the first stage has credit for. So the roots
of a large job do not stand in a queue before those of a small one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from zturbo.core.effects import Effect, Load, Record
from zturbo.core.links.outbatch import Destination, OutBatch, part
from zturbo.core.links.senders import MESSAGE_BYTES, Senders
from zturbo.core.order.intervals import Intervals
from zturbo.wire.messages import MANY_TASKS, MAX_STAGES, Batch, End, PathRun, Taken, group
from zturbo_broker.jobs.fair_queue import FairQueue
from zturbo_broker.jobs.job import Job

__all__ = ["Roots"]

CACHE_BYTES = 64 << 20
"""Bytes of chunks that stay in memory until they are sent; other chunks are read back from the ledger."""

BACKLOG_BYTES = 16 << 20
"""Bytes of a job's roots that may wait before its feeder is held back."""

BACKLOG_TASKS = 1 << 16
"""Roots of a job that may wait before its feeder is held back."""


class Roots:
    """The roots of all jobs.

    Args:
        senders: the links to first stages, and to the sequencers that get a stream's END.
        effects: to which effects are appended.
        acknowledge: answers a feed that was held back.
        shrank: told how many bytes of a job's roots are here no more.
    """

    def __init__(
        self,
        senders: Senders,
        effects: list[Effect],
        acknowledge: Callable[[bytes, int, Any], None],
        shrank: Callable[[Job, int], None],
    ) -> None:
        self.senders = senders
        self.effects = effects
        self._acknowledge = acknowledge
        self._shrank = shrank
        self.cached = 0
        """Bytes of chunks in memory."""
        self.backlog: Counter[str] = Counter()
        """Pipeline -> roots of its jobs that were not sent."""

    def add(self, job: Job, first: int, n: int, roots: Batch) -> None:
        """A chunk has come: record it, and keep it at hand if there is room."""
        seq, nbytes = len(job.chunks), roots.nbytes
        job.chunks.append(first, n, nbytes)
        self.effects.append(Record("put_chunk", (job.id, seq, first, n, roots)))
        if job.recovering:
            return
        self._todo(job, first, first + n)
        if self.cached + nbytes <= CACHE_BYTES:
            self._cache(job, seq, roots)

    def _owe(self, job: Job, n: int) -> None:
        """So many more roots of a job are to be sent."""
        job.backlog += n
        self.backlog[job.pipeline] += n

    def _todo(self, job: Job, start: int, stop: int) -> None:
        self._owe(job, stop - start)
        if job.todo and job.todo[-1][1] == start:
            start = job.todo.pop()[0]
        job.todo.append((start, stop))

    def again(self, job: Job, runs: list[PathRun]) -> None:
        """Send these roots again, which were lost, before all others."""
        for first, n in reversed(runs):
            start = max(first[0], job.taken.roots) if first else -1
            stop = min((first[0] if first else -1) + n, job.chunks.first + job.chunks.total)
            if start < stop:  # a worker may say that it held roots that the job has not
                job.todo.appendleft((start, stop))
                self._owe(job, stop - start)

    def _cache(self, job: Job, seq: int, roots: Batch) -> None:
        job.cache[seq] = roots
        self.cached += roots.nbytes

    def _uncache(self, job: Job, seq: int) -> None:
        roots = job.cache.pop(seq, None)
        if roots is not None:
            self.cached -= roots.nbytes

    def crowded(self, job: Job) -> bool:
        """Whether the job's feeder is to be held back."""
        return job.backlog_bytes > BACKLOG_BYTES or job.backlog > BACKLOG_TASKS

    def rewind(self, job: Job) -> None:
        """Send all of the job's roots again."""
        self.resume(job, Intervals())

    def resume(self, job: Job, safe: Intervals) -> None:
        """Send all of the job's roots again except these."""
        job.ended_roots = job.recovering = False
        job.todo.clear()
        self._owe(job, -job.backlog)
        if not len(job.chunks):
            return
        # Intervals count from 0: a job's single root, -1, is shifted to it.
        shift = min(0, job.chunks.first)
        for start, stop in safe.missing(job.taken.roots, job.chunks.total):
            self._todo(job, start + shift, stop + shift)

    def trim(self, job: Job, taken: Taken) -> None:
        """These roots are needed no more, in no epoch. Those of them that were to go again do not."""
        job.taken = taken
        todo, job.todo = job.todo, deque()
        for start, stop in todo:
            left = max(start, min(stop, taken.roots))
            self._owe(job, start - left)
            if left < stop:
                job.todo.append((left, stop))
        if job.owed_acks:
            self._free_acks(job)
        seq = job.chunks.find(taken.roots)
        if seq <= job.chunks.trimmed:
            return
        for gone in [one for one in job.cache if one < seq]:
            self._uncache(job, gone)
        self._shrank(job, job.chunks.trim(seq))
        self.effects.append(Record("trim_chunks", (job.id, seq)))

    def drop(self, job: Job) -> None:
        """The job has ended: forget its roots."""
        self.senders.forget(job.id)
        self._owe(job, -job.backlog)
        for seq in list(job.cache):
            self._uncache(job, seq)

    def loaded(self, job: Job, seq: int, roots: Batch) -> None:
        """Keep a chunk that was read from the ledger, if its roots are next."""
        job.loading.discard(seq)
        if job.todo and seq not in job.cache and job.chunks.find(job.todo[0][0]) == seq:
            self._cache(job, seq, roots)

    def dispatch(self, queue: FairQueue, jobs: dict[bytes, Job], stages: int, now: float) -> None:
        """Let one pipeline's jobs take turns, as long as something can be sent.

        Where all jobs go to the same workers, as they do while those have one code, the round ends with the
        first job that these have no credit for. So it costs the same however many jobs wait. A job that
        cannot use its turn keeps it.
        """
        unused: dict[bytes, None] = {}
        since: set[bytes] = set()  # jobs that could not use their turn since something was sent
        while (name := queue.first()) is not None and name not in since:
            job = jobs[name]
            dest = self._destination(job, 0)
            room = min(MANY_TASKS, self.senders.credit(dest, now))
            if room <= 0 and self._is_everybody(dest, job):
                break
            queue.turn()
            if not self._send_some(job, dest, room, now):
                unused[name] = None
                since.add(name)
                continue
            unused.pop(name, None)
            since.clear()
            if not job.todo:
                queue.remove(name)
                self.finish(job, stages)
        for name in reversed(unused):
            queue.back(name)

    def finish(self, job: Job, stages: int) -> None:
        """All roots that are here have been sent: if the feed is closed, send their END too."""
        if job.closed and job.stream and not job.ended_roots:
            assert job.stamp is not None
            job.ended_roots = True
            stage = min(job.stamp.ordered, default=stages)
            dest = job.stamp.sink if stage == stages else self._destination(job, stage)
            batch = Batch(job.id, job.epoch, stage, ends=[End((), job.total)])
            self.senders.put(OutBatch.of(batch, dest))

    def _is_everybody(self, dest: Destination, job: Job) -> bool:
        """Whether the roots of all jobs of this job's pipeline go to the same workers as its own."""
        here = self.senders.groups
        everybody = here.get(group(job.pipeline, 0, ""), [])
        return not isinstance(dest, bytes) and len(here.get(dest, ())) == len(everybody)

    def _destination(self, job: Job, stage: int) -> Destination:
        assert job.stamp is not None
        return job.stamp.to(stage, MAX_STAGES + 1)

    def _send_some(self, job: Job, dest: Destination, room: int, now: float) -> bool:
        """Give the job its turn: one slice of roots. False if there was nothing that could be sent."""
        if room <= 0 or now < job.paused_until:
            return False
        start, stop = job.todo[0]
        seq = job.chunks.find(start)
        chunk = job.cache.get(seq)
        if chunk is None:
            if seq not in job.loading:
                job.loading.add(seq)
                self.effects.append(Load(job.id, seq))
            return False
        first, n, _ = job.chunks[seq]
        end = min(stop, first + n, start + room)
        whole = Batch(job.id, job.epoch, 0, _runs(first, n), n, chunk.blob, chunk.metas, list(chunk.buffers))
        outbatch = OutBatch.of(part(whole, start - first, end - first), dest)
        self._owe(job, start - end)
        if end < stop:
            job.todo[0] = (end, stop)
        else:
            job.todo.popleft()
        if end == first + n or not job.todo or job.chunks.find(job.todo[0][0]) != seq:
            self._uncache(job, seq)
        if job.owed_acks:
            self._free_acks(job)
        self.senders.put(outbatch)
        if self.senders.pending_bytes > MESSAGE_BYTES:  # small ones wait, so that they share a message
            self.senders.pump(now)
        return True

    def _free_acks(self, job: Job) -> None:
        if not self.crowded(job):
            for identity, ref in job.owed_acks:
                self._acknowledge(identity, ref, {"fed": len(job.chunks)})
            job.owed_acks.clear()


def _runs(first: int, n: int) -> list[PathRun]:
    return [((), 1)] if first < 0 else [((first,), n)]
