"""The jobs that have ended: how long each stays in the list of jobs, and its results at their sink."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from zturbo.core.effects import Record
from zturbo.jobstates import ENDED, JobState
from zturbo.wire.control.view import Member
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.joblists import JobLists
from zturbo_broker.machine.known import Known
from zturbo_broker.members.lost_sinks import LostSinks

__all__ = ["History"]

KEEP_JOBS = 10_000
"""Most ended jobs that the broker keeps, with their results; it forgets the oldest first."""


class _Ended(NamedTuple):
    """What is needed to forget a job that has ended."""

    at: float
    """When it ended."""
    state: JobState
    weight: int
    """How many jobs of clients it is."""
    sink: bytes
    spool: bytes


class History:
    """The jobs that have ended.

    Args:
        known: the facts that all parts use.
        forgets: tells sinks which results go.
        lost_sinks: sinks that are waited for.
        keep: seconds for which a job stays.
    """

    def __init__(self, known: Known, forgets: JobLists, lost_sinks: LostSinks, keep: float) -> None:
        self.effects = known.effects
        self.membership = known.membership
        self.counts = known.counts
        self.table = known.table
        self._forgets = forgets
        self._lost_sinks = lost_sinks
        self._keep = keep
        self.ended: OrderedDict[bytes, _Ended] = OrderedDict()
        """Each ended job, the one that ended first comes first."""
        self.ended_jobs = 0
        """How many jobs of clients these are."""

    def note_end(self, job: Job, now: float) -> None:
        """The job has ended: it is forgotten after a while, or if many have ended since."""
        sink, spool = (b"", b"") if job.stamp is None else (job.stamp.sink, job.stamp.spool)
        self.ended[job.id] = _Ended(now, job.state, job.weight, sink, spool)
        self.ended_jobs += job.weight
        while self.ended_jobs > KEEP_JOBS and len(self.ended) > 1:
            self._prune_oldest(now)

    def prune(self, job: Job, now: float) -> None:
        """Forget a job that has ended, and its results."""
        if self.ended.pop(job.id, None) is not None:
            self.ended_jobs -= job.weight
        self._forget(job.id, job.state, job.weight, self.sink_of(job), now)

    def prune_old(self, now: float) -> None:
        """Forget jobs that ended long ago."""
        while self.ended and now - next(iter(self.ended.values())).at > self._keep:
            self._prune_oldest(now)

    def _prune_oldest(self, now: float) -> None:
        """Forget the job that ended first. Its row is not read for that."""
        name, old = self.ended.popitem(last=False)
        self.ended_jobs -= old.weight
        sink = self._sink(old.sink, old.spool)
        self._forget(name, old.state, old.weight, sink, now)

    def _forget(self, job: bytes, state: JobState, weight: int, sink: Member | None, now: float) -> None:
        if sink is not None:
            self._forgets.add([sink.incarnation], job, now)
        self.effects.append(Record("drop_job", (job,)))
        self.counts.forget(job)
        self.table.drop(job, state, weight)

    def let_go_of(self, job: Job, now: float) -> None:
        """Its client needs its results no more, and the job stays in the list. So do its results, if tasks
        failed and the job is not large: these tasks can be run again."""
        job.let_go_of = True
        if job.state is JobState.DONE and not job.results_kept and (sink := self.sink_of(job)) is not None:
            self._forgets.add([sink.incarnation], job.id, now)
        self.effects.append(Record("put_job", (job,)))

    def sink_of(self, job: Job) -> Member | None:
        """The living sink that has a job's results: the stamped one. Where the job has ended it may be the
        successor on the same spool, since the stamp is not renewed then."""
        stamp = job.stamp
        if stamp is None:
            return None
        spool = stamp.spool if job.state in ENDED and stamp.spool not in self._lost_sinks else b""
        return self._sink(stamp.sink, spool)

    def _sink(self, incarnation: bytes, spool: bytes) -> Member | None:
        """This sink, or else the one that has this spool now."""
        sink = self.membership.get(incarnation)
        if sink is not None or not spool:
            return sink
        return next((sink for sink in self.membership.sinks() if sink.spool == spool), None)
