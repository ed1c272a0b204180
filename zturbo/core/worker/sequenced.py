"""The sequencers before the code of an ordered stage, one for each job, and the batches that wait in them."""

from __future__ import annotations

from collections import deque

from zturbo.core.effects import Control, Effect, Work
from zturbo.core.worker.adoption import REPORT_EVERY
from zturbo.core.worker.job import WorkerJob
from zturbo.core.worker.waiting import Waiting
from zturbo.errors import DecodeError
from zturbo.wire.control import to_broker
from zturbo.wire.messages import Batch
from zturbo.wire.payload import failure_text

__all__ = ["MAX_WORK", "Sequenced"]

MAX_WORK = 512
"""Tasks that an ordered stage hands to its code at once."""


class Sequenced:
    """Items that wait for their order. Jobs take turns.

    Args:
        me: incarnation of the worker.
        jobs: the state of each job at the worker.
        effects: list to which it appends its effects.
        spill_bytes: bytes that may wait for their order in memory.
    """

    def __init__(
        self, me: bytes, jobs: dict[bytes, WorkerJob], effects: list[Effect], spill_bytes: int
    ) -> None:
        self._me = me
        self._jobs = jobs
        self._effects = effects
        self.waiting = Waiting(effects, spill_bytes)
        self._ring: deque[bytes] = deque()
        self._blamed: dict[bytes, float] = {}
        """Job that the broker is to end -> when to tell the broker so, again."""

    def begin(self, job: bytes) -> None:
        """Let a new job take turns with the others."""
        self._ring.append(job)

    def enter(self, job: WorkerJob, batch: Batch) -> None:
        """Put all of a batch into its job's sequencer."""
        sequencer = job.sequencer
        assert sequencer is not None
        offset = taken = 0
        try:
            for first, n in batch.runs:
                taken += sequencer.enter_run(first, n, batch, offset)
                offset += n
            for end in batch.ends:
                sequencer.enter_end(end.path, end.count, None)
            for fail in batch.fails:
                error = self.waiting.failure(batch.job, fail.error)
                new = sequencer.enter_fail(fail.path, fail.count, error)
                if not new:
                    self.waiting.no_failure(batch.job, error)
                elif job.stamp.fail_fast and job.failure is None:
                    job.failure = failure_text(fail.error)
        except DecodeError:
            pass  # no correct sender sends such an item; the items before it have entered
        if taken:
            self.waiting.add(batch, taken)
        if sequencer.nondeterministic or job.failure:
            self._blamed.setdefault(batch.job, 0.0)

    def next(self) -> Work | None:
        """The next work: what the next job's sequencer has released. A job without any misses its turn."""
        for _ in range(len(self._ring)):
            name = self._ring[0]
            self._ring.rotate(-1)
            job = self._jobs.get(name)
            if job is None:
                self._ring.pop()
                continue
            sequencer = job.sequencer
            if sequencer is None or job.finished:
                continue
            released = sequencer.pop(MAX_WORK)
            final = sequencer.drained
            if not released and not final:
                continue
            job.finished = final
            pieces, fails = self.waiting.take(name, released)
            return Work(name, job.stamp.epoch, pieces, None, fails, final, job.stamp.logs, job.marks)
        return None

    def blame(self, now: float) -> None:
        """Tell the broker to end jobs that are nondeterministic, or that fail fast, until it has."""
        for name, at in list(self._blamed.items()):
            job = self._jobs.get(name)
            sequencer = None if job is None else job.sequencer
            blame = None if job is None or sequencer is None else sequencer.nondeterministic or job.failure
            if job is None or sequencer is None or not blame:
                del self._blamed[name]
            elif now >= at:
                self._blamed[name] = now + REPORT_EVERY
                kind = "NondeterministicStage" if sequencer.nondeterministic else "JobFailed"
                message = to_broker.JobFailed(
                    incarnation=self._me, job=name, epoch=job.stamp.epoch, kind=kind, error=blame
                )
                self._effects.append(Control(message))

    def deadline(self) -> float | None:
        """When the broker is to be told (again)."""
        return min(self._blamed.values(), default=None)
