"""Members that leave, and their jobs: deaths are strikes against tasks; work that was lost is done again."""

from __future__ import annotations

from dataclasses import replace

from zturbo.core.effects import Record
from zturbo.jobstates import ENDED, JobState
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Stamp
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.strikes import Death, strike
from zturbo_broker.machine.known import Known
from zturbo_broker.machine.lifecycle import Lifecycle

__all__ = ["Departures"]


class Departures:
    """Members that are out of the view.

    Args:
        known: facts.
        life: of jobs.
    """

    def __init__(self, known: Known, life: Lifecycle) -> None:
        self.known = known
        self.effects = known.effects
        self.pipelines = known.pipelines
        self.membership = known.membership
        self.jobs = known.jobs
        self.counts = known.counts
        self.trouble = known.trouble
        self.life = life

    def gone(self, incarnation: bytes, now: float, death: Death | None = None) -> None:
        """This member lives no more."""
        member = self.membership.remove(incarnation)
        if member is None:
            return
        if death is not None and member.role == "worker":
            death = replace(death, stage=member.stage)
            self._note_death(member, death, now)
        elif death is not None:
            self._tell_jobs(member, death.sentence)
        self._lost([member], now)

    def _note_death(self, member: Member, death: Death, now: float) -> None:
        """Tell the jobs that were running; count strikes. The marks are said before the view is."""
        running = {item[0]: item[3] for item in death.running}
        for job in self.jobs.values():
            stamp = job.stamp
            concerned = stamp is not None and member.incarnation in stamp.ordered.values()
            if job.id in running or (concerned and job.state is JobState.RUNNING):
                job.incidents.append(death.sentence)
        for name, given in running.items():
            known = self.jobs.get(name)
            if known is not None and known.state not in ENDED and known.stamp is not None:
                self._strike(known, known.stamp, death, given, now)

    def _strike(self, job: Job, stamp: Stamp, death: Death, given: int, now: float) -> None:
        pipeline = self.pipelines.get(job.pipeline)
        limit = pipeline.max_task_retries if pipeline is not None else 3
        stood = {(mark.stage, mark.path): mark.given for mark in job.marks if mark.given}
        if strike(job, death, limit):
            mark = job.marks[-1]
            before = stood.get((mark.stage, mark.path))
            unaware = before == given  # it got as far as is known, and had not heard that this is all
            if mark.kind and not unaware and (before or (mark.given and job.epoch > 1)):
                # It may have given more in an earlier epoch, and all that came after it with that.
                why = f"{mark.text}; what it had given cannot be made again"
                self.life.end(job, JobState.FAILED, "ResultsLost", f"{why}: submit the job again", now)
                return
            self.life.restamp(job, replace(stamp, marks=job.marks, revision=stamp.revision + 1))
        else:
            self.life.record(job)

    def taken_out(self, members: list[Member], why: str, now: float) -> None:
        """These are out of the view, though nobody saw them exit."""
        for member in members:
            self._tell_jobs(member, f"{self.known.name_of(member)} on {member.host} {why}")
        self._lost(members, now)

    def _tell_jobs(self, member: Member, text: str) -> None:
        """What became of a member, for the jobs that it worked for."""
        for job in self.jobs.values():
            stamp = job.stamp
            if stamp is None or job.state is not JobState.RUNNING:
                continue
            *_, queued, running = self.counts.of(member.incarnation, job.id)
            if member.incarnation in (stamp.sink, *stamp.ordered.values()) or queued or running:
                job.incidents.append(text)

    def _lost(self, members: list[Member], now: float) -> None:
        gone = {member.incarnation for member in members}
        for incarnation in gone:
            self.trouble.pop(incarnation, None)
            self.life.draining.discard(incarnation)
            self.life.recovery.lost(incarnation)
        self.known.record_members()
        self.life.unplaced = True
        for member in members:
            for job in self.counts.gone(member, self.jobs):
                self.effects.append(Record("note_job", (job,)))
            if member.role == "sink" and member.spool:
                self.life.lost_sinks.add(member.spool, now)
        for job in list(self.jobs.values()):
            stamp = job.stamp
            if stamp is None or job.state is not JobState.RUNNING:
                continue
            if gone & {*stamp.ordered.values()}:
                self.life.wait_again(job)
            elif stamp.sink in gone and not stamp.spool:
                self.life.results_lost(job, "its sink is gone", now)

    def give_up_sinks(self, now: float) -> None:
        """A sink has not come back: what it had is run again."""
        for spool in self.life.lost_sinks.given_up(now):
            self.life.unplaced = True
            for job in list(self.jobs.values()):
                if job.state is JobState.RUNNING and job.stamp is not None and job.stamp.spool == spool:
                    self.life.results_lost(job, "its sink did not come back with its spool", now)
