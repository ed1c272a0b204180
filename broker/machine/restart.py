"""The restart of the broker, or of a sink: jobs go on with what the other processes still have.

A sink that comes back with the same spool has all that it had acked. Its jobs go on in their epoch; a stamp
of a higher revision names its new incarnation. The broker gives up a sink that does not come back in time
(``members/lost_sinks.py``), and its jobs start over.
"""

from __future__ import annotations

from zturbo.core.effects import Control
from zturbo.errors import DecodeError
from zturbo.jobstates import ENDED, JobState
from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.placement import Placed
from zturbo_broker.jobs.strikes import stand
from zturbo_broker.machine.known import Known
from zturbo_broker.machine.lifecycle import Lifecycle
from zturbo_broker.members.reach import plain_host

__all__ = ["Restart"]


class Restart:
    """Takes up jobs again after a restart.

    Args:
        known: the facts that all parts use.
        life: the lifecycle of jobs.
    """

    def __init__(self, known: Known, life: Lifecycle) -> None:
        self.known = known
        self.effects = known.effects
        self.pipelines = known.pipelines
        self.membership = known.membership
        self.jobs = known.jobs
        self.counts = known.counts
        self.life = life

    def restore(self, members: list[Member], jobs: list[Job], now: float) -> None:
        """Begin with what the ledger has: its members, and its jobs, which go on."""
        self.membership.restore(members, now)
        self.life.views.sent = -1  # no member has been sent this view
        here = {member.incarnation for member in members}
        spools = {member.spool for member in members}
        for member in members:
            self.life.codes.saw(member)
            if member.role == "worker" and member.stage == 0 and not member.ordered:
                self.life.recovery.silent[member.incarnation] = member.pipeline
        for job in jobs:
            self.life.table.restore(job)
            if job.state not in (JobState.FAILED, JobState.CANCELLED) and job.stamp is not None:
                if job.stamp.spool not in spools:  # of an ended job the stamp may name an earlier sink there
                    self.life.lost_sinks.add(job.stamp.spool, now)
            if job.state in ENDED:
                job.ended_at = now
                self.life.history.note_end(job, now)
                if job.stamp is not None and not job.counts_final:
                    self.counts.ended(job, [m for m in members if m.pipeline == job.pipeline])
                if job.id not in self.counts.ending:
                    self.life.table.leave(job)
                    self.life.table.recorded()  # the ledger has it
                continue
            self.life.watch_time(job, now)
            if job.state is JobState.RUNNING:
                self._take_up(job, here, now)
            else:
                self.life.roots.rewind(job)
                if job.pipeline in self.pipelines:
                    self.pipelines[job.pipeline].waiting[job.id] = None

    def _take_up(self, job: Job, here: set[bytes], now: float) -> None:
        """A job that was running: it goes on, unless an ordered stage's worker is gone."""
        stamp = job.stamp
        if stamp is None or job.pipeline not in self.pipelines or not {*stamp.ordered.values()} <= here:
            self.life.wait_again(job)
            return
        job.placed = Placed(dict(stamp.ordered), stamp.sink)
        self.life.placement.take(job.placed)
        self.life.senders.stamp(stamp)
        job.recovering = True
        self.life.recovery.jobs[job.id] = job
        if not job.failures_known:
            self.life.unknown_failures[job.id] = now

    def held(self, identity: bytes, message: to_broker.Held, now: float) -> None:
        """A worker of a first stage says which roots it holds of an earlier broker."""
        for _, _, runs, n, _ in message.items:
            if sum(run[1] for run in runs) != n:
                raise DecodeError("held: field 'items' is malformed")
        if message.broker == self.known.me and message.incarnation in self.membership:
            self.life.recovery.report(message.incarnation, message.items, now)
            self.effects.append(Control(from_broker.HeldOk(broker=self.known.me), identity))

    def entered(self, identity: bytes, message: to_broker.Entered, now: float) -> None:
        """A first sequencer says which of a job's roots have wholly entered it."""
        found = self.life.recovery.entered(message.job, message.epoch, message.roots)
        if found is not None:
            job, safe = found
            self.life.roots.resume(job, safe)
            self.life.queue(job)

    def known_failures(self, identity: bytes, message: to_broker.KnownFailures, now: float) -> None:
        """A sink says which failures of a job that started over it has given out: these have to stand."""
        job = self.jobs.get(message.job)
        stamp = job.stamp if job is not None else None
        if (
            job is None
            or stamp is None
            or job.id not in self.life.unknown_failures
            or message.epoch != job.epoch
        ):
            return
        if message.incarnation != stamp.sink:
            return
        del self.life.unknown_failures[job.id]
        job.failures_known = True
        job.marks = stand(job.marks, message.failures)
        self.life.restamp(job, replace(stamp, marks=job.marks, revision=stamp.revision + 1))
        self.life.queue(job)

    def recovered(self, identity: bytes, message: to_broker.Recovered, now: float) -> None:
        """A sink has read its spool: its jobs go on with it."""
        sink = self.membership.get(message.incarnation)
        if sink is None or not sink.spool:
            return
        self.life.lost_sinks.back(sink.spool)
        self.life.unplaced = True
        damaged = dict.fromkeys(message.damaged)
        why = f"the spool of {plain_host(sink)} is damaged where it had this job"
        for name in damaged:
            job = self.life.table.find(name)
            if job is None or job.stamp is None or job.stamp.spool != sink.spool:
                continue
            if job.state is JobState.RUNNING:
                if job.stamp.sink != sink.incarnation:
                    self.life.results_lost(job, why, now)
                continue
            job.incidents.append(why)
            if job.state in ENDED:
                job.stamp = replace(job.stamp, spool=b"")  # so no sink has its results
                self.life.record(job)
        for job in list(self.jobs.values()):
            stamp = job.stamp
            if stamp is None or stamp.spool != sink.spool or stamp.sink == sink.incarnation:
                continue
            if job.state in ENDED or job.id in damaged:
                continue
            if job.placed is not None:
                self.life.placement.free(job.placed)
                job.placed = Placed(job.placed.ordered, sink.incarnation)
                self.life.placement.take(job.placed)
            self.life.restamp(job, replace(stamp, sink=sink.incarnation, revision=stamp.revision + 1))
            self.life.recovery.ask_again(stamp.sink)  # now this sink is asked
        self.life.remind(sink, message.jobs)
        self.effects.append(Control(from_broker.RecoveredOk(), identity))
