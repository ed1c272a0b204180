"""What members say of jobs: their counts, which roots have ended, that a job is complete or cannot go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zturbo.core.effects import Record
from zturbo.jobstates import ENDED, JobState
from zturbo.wire.carried import carried_id
from zturbo.wire.control import to_broker
from zturbo.wire.messages import Taken
from zturbo_broker.jobs.job import Job
from zturbo_broker.machine.known import Known
from zturbo_broker.machine.lifecycle import Lifecycle

__all__ = ["JobReports"]

PAUSE = 3.0
"""Seconds that a job stays paused after its sink last said so."""


class JobReports:
    """Handlers of what workers and sinks say of jobs.

    Args:
        known: the facts that all parts use.
        life: the lifecycle of jobs.
    """

    def __init__(self, known: Known, life: Lifecycle) -> None:
        self.effects = known.effects
        self.membership = known.membership
        self.jobs = known.jobs
        self.counts = known.counts
        self.table = known.table
        self.say = known.say
        self.life = life

    def pause(self, identity: bytes, message: to_broker.Pause, now: float) -> None:
        """A sink has too many unread results of a job: no roots are sent. Repeated while that lasts."""
        job = self.jobs.get(message.job)
        if job is not None and job.epoch == message.epoch:
            job.paused_until = now + PAUSE

    def roots_taken(self, identity: bytes, message: to_broker.RootsTaken, now: float) -> None:
        """A sink says which roots of a job are needed no more."""
        job, taken = self.jobs.get(message.job), Taken(*message.taken)
        if job is None or not self._is_of(job, message.incarnation, message.epoch):
            return
        if job.stamp is not None and job.stamp.trims and job.taken.roots < taken.roots <= job.chunks.total:
            self.life.trim(job, taken)

    def note_progress(self, identity: bytes, message: to_broker.Progress, now: float) -> None:
        """A member's counts of tasks per job: given, failed, queued, running."""
        if message.incarnation in self.membership:
            self.counts.note(message.incarnation, message.counts)
            for name, (epoch, ended) in message.ended.items():
                job = self.jobs.get(name)
                if job is not None and self._is_of(job, message.incarnation, epoch):
                    self._note_ended_roots(job, ended)

    @staticmethod
    def _is_of(job: Job, sink: bytes, epoch: int) -> bool:
        """Whether the job runs in this epoch, and has this sink."""
        return (
            job.state is JobState.RUNNING
            and job.stamp is not None
            and sink == job.stamp.sink
            and epoch == job.epoch
        )

    def _note_ended_roots(self, job: Job, ended: Sequence[tuple[int, int, int]]) -> None:
        """The sink has all results of these roots. Of jobs that travel together each is one of them."""
        new = {
            root: (results, failed)
            for root, results, failed in ended
            if root < job.carries and root not in job.over
        }
        if new:
            self._roots_over(job, new)

    def last_counts(self, identity: bytes, message: to_broker.LastCounts, now: float) -> None:
        """A member's last counts of jobs that have ended."""
        member = self.membership.get(message.incarnation)
        for name, numbers in message.counts.items():
            job = self.jobs.get(name)
            if member is not None and job is not None and self.counts.last(job, member, *numbers):
                self.effects.append(Record("note_job", (job,)))
                self.life.table.leave(job)

    def complete(self, identity: bytes, message: to_broker.Complete, now: float) -> None:
        """A sink says that it has all of some jobs."""
        for name in message.large:
            if (job := self.jobs.get(name)) is not None:
                job.large = True
        for told in message.jobs:
            name = told[0]
            if self._ended(message.incarnation, *told, message.ended.get(name, ()), now):
                self.life.confirms.add([message.incarnation], name, now)

    def _ended(
        self,
        sink: bytes,
        name: bytes,
        epoch: int,
        results: int,
        failed: int,
        ended: Sequence[tuple[int, int, int]],
        now: float,
    ) -> bool:
        """A sink says that it has all of a job. Returns whether the job has ended."""
        job = self.jobs.get(name)
        if job is None or job.state in ENDED:
            return True
        if not self._is_of(job, sink, epoch):
            return False
        if ended:
            self._note_ended_roots(job, ended)
        job.results, job.failed = results, failed
        if job.failed and job.retries_left:
            job.retries += 1
            job.incidents.append(f"{job.failed} tasks failed: retry {job.retries}")
            self.life.wait_again(job)
            return False
        self.life.end(job, JobState.DONE, None, None, now)
        if job.let_go_of:
            self.life.history.let_go_of(job, now)
        return True

    def job_failed(self, identity: bytes, message: to_broker.JobFailed, now: float) -> None:
        """A member says that a job has failed, for a reason that no retry can mend."""
        job = self.jobs.get(message.job)
        if job is not None and job.state is JobState.RUNNING and message.epoch == job.epoch:
            self.life.end(job, JobState.FAILED, message.kind, message.error, now)

    def _roots_over(self, job: Job, roots: Mapping[int, tuple[int, int]]) -> None:
        """All results of these jobs, which the job carries, are at its sink: tell those who wait for them."""
        self.table.roots_over(job, roots)
        self.counts.reported(job.id)
        new = {carried_id(job.id, root) for root in roots.keys() - job.cancelled}
        for identity, (ref, jobs, _) in list(self.life.watches.items()):
            if ended := [name for name in jobs.get(job.id, ()) if name in new]:
                del self.life.watches[identity]
                self.say.ok(identity, ref, tuple((name, JobState.DONE.value, None, None) for name in ended))
