"""After the broker's restart: which roots of running jobs have to go again.

The jobs run on meanwhile. Workers of a first stage report which roots they hold. When all of them have
reported or are gone, the first sequencer of each job is asked which roots have wholly entered it. All other
roots go again. A root leaves the custody of its first-stage worker only when all that came of it has entered
the first sequencer, so asking in this order misses none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from zturbo.core.effects import Control, Effect
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.links.senders import Senders
from zturbo.core.order.intervals import Intervals
from zturbo.slotted import field, slotted
from zturbo.wire.control import from_broker
from zturbo.wire.messages import Batch, PathRun
from zturbo_broker.jobs.job import Job

__all__ = ["ASK_EVERY", "Recovery"]

ASK_EVERY = 1.0
"""Seconds between two questions to a sequencer that has not answered."""


@slotted
class _Asked:
    whom: bytes
    again: float


@slotted
class Recovery:
    """What a restarted broker does not know yet.

    Args:
        senders: the links to first stages.
        effects: to which effects are appended.
    """

    senders: Senders
    effects: list[Effect]
    silent: dict[bytes, str] = field(default_factory=dict)
    """Workers of first stages that have not reported -> their pipeline."""
    jobs: dict[bytes, Job] = field(default_factory=dict)
    """Jobs whose roots to resend are not known yet."""
    _held: dict[bytes, dict[bytes, list[tuple[int, int]]]] = field(default_factory=dict)
    """Job -> worker -> ranges of roots that it holds."""
    _returned: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    """Job -> ranges of roots that were reported, and then given back or lost."""
    _asked: dict[bytes, _Asked] = field(default_factory=dict)

    def report(self, worker: bytes, items: tuple[Any, ...], now: float) -> None:
        """A worker of a first stage reports what it holds: (job, epoch, runs, tasks, bytes) of each input.

        A repeated report changes nothing.
        """
        if self.silent.pop(worker, None) is None:
            return
        outbatches = []
        for job_id, epoch, runs, n, nbytes in items:
            batch = Batch(job_id, epoch, 0, list(runs), n)
            outbatches.append(OutBatch(batch, None, (), n, nbytes, hollow=True))
            job = self.jobs.get(job_id)
            if job is not None and job.epoch == epoch:
                self._held.setdefault(job_id, {}).setdefault(worker, []).extend(_ranges(job, runs))
        self.senders.adopt(worker, outbatches, now)

    def lost(self, worker: bytes) -> None:
        """A worker is gone: it reports nothing any more, and holds nothing."""
        self.silent.pop(worker, None)
        for holders in self._held.values():
            holders.pop(worker, None)

    def returned(self, job: Job, runs: list[PathRun]) -> None:
        """Roots that were reported have been given back or lost: no worker holds them any more."""
        self._returned.setdefault(job.id, []).extend(_ranges(job, runs))

    def drop(self, job: bytes) -> None:
        """The job has ended, or starts over."""
        self.jobs.pop(job, None)
        self._held.pop(job, None)
        self._returned.pop(job, None)
        self._asked.pop(job, None)

    def ask(self, stages: dict[str, int], now: float) -> None:
        """Ask the first sequencer of each job whose first-stage workers have all reported."""
        pending = set(self.silent.values())
        for job in self.jobs.values():
            asked = self._asked.get(job.id)
            if job.pipeline in pending or (asked is not None and now < asked.again):
                continue
            stamp = job.stamp
            assert stamp is not None
            first = min(stamp.ordered, default=stages[job.pipeline])
            whom = stamp.ordered.get(first, stamp.sink)
            self._asked[job.id] = _Asked(whom, now + ASK_EVERY)
            self.effects.append(Control(from_broker.AskEntered(job=job.id, epoch=job.epoch), whom))

    def ask_again(self, member: bytes) -> None:
        """Questions to this member are lost: they go again, without waiting for :data:`ASK_EVERY`."""
        for asked in self._asked.values():
            if asked.whom == member:
                asked.again = -math.inf

    def entered(self, job_id: bytes, epoch: int, roots: tuple[Any, ...]) -> tuple[Job, Intervals] | None:
        """A sequencer's answer. Returns the job, and the roots that need not go again."""
        job = self.jobs.get(job_id)
        if job is None or job.epoch != epoch or job_id not in self._asked:
            return None
        shift = min(0, job.chunks.first)
        total = job.chunks.total
        ranges = [(max(0, a - shift), min(b - shift, total)) for a, b in roots]
        back = Intervals.of(self._returned.get(job_id, []))
        for held in self._held.get(job_id, {}).values():
            for start, stop in held:
                ranges.extend(back.missing(start, stop))
        self.drop(job_id)
        return job, Intervals.of(ranges)

    def deadline(self) -> float | None:
        """When to ask again."""
        return min((asked.again for asked in self._asked.values()), default=None) if self._asked else None


def _ranges(job: Job, runs: Sequence[PathRun]) -> list[tuple[int, int]]:
    """Roots as half-open ranges that count from 0. The single root of a job, -1, becomes 0."""
    shift = min(0, job.chunks.first)
    starts = [((first[0] if first else -1) - shift, n) for first, n in runs]
    return [(start, start + n) for start, n in starts]
