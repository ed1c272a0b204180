"""Members that leave, and what follows for jobs: strikes against tasks, and lost work that is done again."""

from __future__ import annotations

from collections.abc import Iterable

from zturbo.core.effects import Record
from zturbo.jobstates import ENDED, JobState
from zturbo.slotted import replace
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Stamp
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.strikes import Death, strike
from zturbo_broker.machine.known import Known
from zturbo_broker.machine.lifecycle import Lifecycle
from zturbo_broker.members.reach import plain_host

__all__ = ["Departures"]


class Departures:
    """What follows when a member leaves the view.

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
        self.trouble = known.trouble
        self.life = life

    def gone(self, incarnation: bytes, now: float, death: Death | None = None) -> None:
        """A member has died or left; ``death`` is what its node saw."""
        member = self.membership.remove(incarnation)
        if member is None:
            return
        if death is not None and member.role == "worker":
            death = replace(death, stage=member.stage)
            self._note_death(member, death, now)
        elif death is not None:
            self._tell_jobs(member, death.sentence)
        self._lost([member], now)

    def leave_old_code(self, now: float) -> None:
        """The view has changed: start over the jobs whose code has gone, where their pipelines want that."""
        for pipeline in self.pipelines.values():
            if pipeline.code not in ("restart", "any"):
                continue
            for job in [job for job in self.jobs.values() if job.pipeline == pipeline.name]:
                if job.state is JobState.RUNNING and (stage := self.known.code_gone(job)) is not None:
                    name = f"{pipeline.name}.{pipeline.stages[stage]}"
                    self.life.start_over(job, f"the workers of {name} have other code now", now)

    def _note_death(self, member: Member, death: Death, now: float) -> None:
        """Note a death in the jobs that it concerns, and count strikes.

        New marks are sent before the new view, so that no peer runs the dead worker's task without its mark.
        """
        running = {item[0]: item[3] for item in death.running}
        for job in self._jobs_of(member, running):
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
            unaware = before == given  # the worker gave what the mark allows, before it had got the mark
            if mark.kind and not unaware and (before or (mark.given and job.epoch > 1)):
                # In an earlier epoch the task may have given more, and results after that were given out.
                why = f"{mark.text}; the outputs that it had given cannot be made again"
                self.life.end(job, JobState.FAILED, "ResultsLost", f"{why}: submit the job again", now)
                return
            self.life.restamp(job, replace(stamp, marks=job.marks, revision=stamp.revision + 1))
        else:
            self.life.record(job)

    def taken_out(self, members: list[Member], why: str, now: float) -> None:
        """Members are out of the view, though no node saw them exit."""
        for member in members:
            self._tell_jobs(member, f"{self.known.name_of(member)} on {plain_host(member)} {why}")
        self._lost(members, now)

    def _tell_jobs(self, member: Member, text: str) -> None:
        """Note what became of a member in the jobs that it worked for."""
        for job in self._jobs_of(member, ()):
            stamp = job.stamp
            if stamp is None or job.state is not JobState.RUNNING:
                continue
            worked = any(self.counts.of(member.incarnation, job.id))
            if worked or member.incarnation in (stamp.sink, *stamp.ordered.values()):
                job.incidents.append(text)

    def _jobs_of(self, member: Member, others: Iterable[bytes]) -> list[Job]:
        """The jobs that a member may have worked for, with these others.

        Any job may have a seat at a sink or an ordered worker. A plain worker works for the jobs that it has
        counts of.
        """
        if member.role == "sink" or member.ordered:
            return list(self.jobs.values())
        names = dict.fromkeys((*self.counts.said.get(member.incarnation, ()), *others))
        return [self.jobs[name] for name in names if name in self.jobs]

    def _lost(self, members: list[Member], now: float) -> None:
        gone = {member.incarnation for member in members}
        for incarnation in gone:
            self.trouble.pop(incarnation, None)
            self.life.draining.discard(incarnation)
            self.life.recovery.lost(incarnation)
        self.known.members_changed()
        self.life.unplaced = True
        for member in members:
            for job in self.counts.gone(member, self.jobs):
                self.effects.append(Record("note_job", (job,)))
                if job.state in ENDED:
                    self.life.table.leave(job)
            if member.role == "sink" and member.spool:
                self.life.lost_sinks.add(member.spool, now)
        seats = any(member.role == "sink" or member.ordered for member in members)
        for job in list(self.jobs.values()) if seats else ():
            stamp = job.stamp
            if stamp is None or job.state is not JobState.RUNNING:
                continue
            if gone & {*stamp.ordered.values()}:
                self.life.wait_again(job)
            elif stamp.sink in gone and not stamp.spool:
                self.life.results_lost(job, "its sink is gone", now)

    def give_up_sinks(self, now: float) -> None:
        """Give up sinks that have not come back in time: their jobs start over, or end."""
        for spool in self.life.lost_sinks.given_up(now):
            self.life.unplaced = True
            for job in list(self.jobs.values()):
                if job.state is JobState.RUNNING and job.stamp is not None and job.stamp.spool == spool:
                    self.life.results_lost(job, "its sink did not come back with its spool", now)
