"""How many tasks of each job are where, as its workers and its sink report it.

A member reports its counts four times a second while they change. It reports its last counts when it hears
that the job has ended. Until all last counts are here, a question about the job waits, for :data:`PATIENCE`
at most: a worker whose code holds the interpreter reports late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zturbo.jobstates import ENDED
from zturbo.slotted import field, slotted
from zturbo.wire.carried import place_of
from zturbo.wire.control import to_broker
from zturbo.wire.control.view import Member
from zturbo_broker.jobs.job import Job

__all__ = ["PATIENCE", "Counts", "Question"]

PATIENCE = 2.0
"""Seconds after a job's end for which a question about it waits for the last counts."""

MOST = 1000
"""Questions that wait at a time; more are answered at once."""

NOTHING = (0, 0, 0, 0)


@slotted
class LastCounts:
    """The last counts of a job that has ended."""

    awaited: set[bytes]
    """Members whose last counts are not here."""
    heard: list[tuple[int, int, int]] = field(default_factory=list)
    """(stage, given, failed) of each worker whose last counts are here. The job gets them when all are here:
    if the ledger had a part of them, they would count twice when a later broker asks again."""


@slotted
class Question:
    """A client's question that waits for last counts."""

    asked: to_broker.Jobs
    """What it asks for."""
    jobs: set[bytes]
    """Jobs whose last counts it waits for."""
    until: float
    """When it is answered all the same."""


class Counts:
    """The counts of all jobs."""

    def __init__(self) -> None:
        self.said: dict[bytes, dict[bytes, tuple[int, int, int, int]]] = {}
        """Member -> job -> (outputs, failures and drops that a worker has given; failures among these; tasks
        that wait; tasks that run). Of a sink: (results; failed tasks; tasks that wait for their order; bytes
        of its spool that they take)."""
        self.ending: dict[bytes, LastCounts] = {}
        """Jobs that have ended, and whose last counts are not here."""
        self.questions: dict[tuple[bytes, int], Question] = {}
        """(client, ref) -> what it asked."""

    def of(self, member: bytes, job: bytes) -> tuple[int, int, int, int]:
        """What a member last said of a job."""
        return self.said.get(member, {}).get(job, NOTHING)

    def note(self, member: bytes, counts: Mapping[bytes, tuple[int, int, int, int]]) -> None:
        """A member reports its counts of the jobs that it has."""
        self.said[member] = dict(counts)

    def started_over(self, job: Job) -> None:
        """The job begins a new epoch, whose counts begin at zero."""
        job.counted.clear()
        for counts in self.said.values():
            counts.pop(job.id, None)

    def ended(self, job: Job, members: Iterable[Member]) -> None:
        """The job has ended. These members are told so, and answer with their last counts."""
        awaited = {member.incarnation for member in members}
        job.counts_final = not awaited
        if awaited:
            self.ending[job.id] = LastCounts(awaited)
        else:
            self.forget(job.id)

    def last(self, job: Job, member: Member, epoch: int, done: int, failed: int) -> bool:
        """A member's last counts of a job. Returns whether all are here now."""
        last = self.ending.get(job.id)
        if last is None or member.incarnation not in last.awaited:
            return False  # a repetition
        if epoch != job.epoch:
            done = failed = 0
        self.said.get(member.incarnation, {}).pop(job.id, None)
        return self._heard(job, last, member, done, failed)

    def gone(self, member: Member, jobs: Mapping[bytes, Job]) -> list[Job]:
        """A member is dead: its latest report counts as its last. Returns jobs whose counts this changes."""
        changed = []
        said = self.said.pop(member.incarnation, {})
        for name, (done, failed, *_) in said.items():
            job = jobs.get(name)
            if job is not None and job.state not in ENDED and member.role != "sink":
                job.count(member.stage, done, failed)
                changed.append(job)
        for name, last in list(self.ending.items()):
            if member.incarnation in last.awaited:
                done, failed, *_ = said.get(name, NOTHING)
                if self._heard(jobs[name], last, member, done, failed):
                    changed.append(jobs[name])
        return changed

    def _heard(self, job: Job, last: LastCounts, member: Member, done: int, failed: int) -> bool:
        last.awaited.discard(member.incarnation)
        if member.role == "sink":
            job.results, job.failed = done, failed
        else:
            last.heard.append((member.stage, done, failed))
        if last.awaited:
            return False
        for numbers in last.heard:
            job.count(*numbers)
        job.counts_final = True
        self.forget(job.id)
        return True

    def forget(self, job: bytes) -> None:
        """No more counts of this job are awaited."""
        self.ending.pop(job, None)
        self.reported(job)

    def reported(self, job: bytes) -> None:
        """What is asked of this job is known now."""
        for question in self.questions.values():
            question.jobs.discard(job)

    def owed(self, member: bytes) -> list[bytes]:
        """Jobs that have ended, and whose last counts this member still owes."""
        return [job for job, last in self.ending.items() if member in last.awaited]

    def of_stages(self, job: Job, members: Iterable[Member], stages: int) -> list[list[int]]:
        """[queued, running, done, failed] of each stage of a job, as far as is known."""
        counts = [[0, 0, *job.counted.get(stage, (0, 0))] for stage in range(stages)]
        over = job.state in ENDED
        last = self.ending.get(job.id, LastCounts(set()))
        told = [(stage, 0, 0, done, failed) for stage, done, failed in last.heard]
        for member in members:
            done, failed, queued, running = self.of(member.incarnation, job.id)
            if not over:
                told.append((member.stage, queued, running, done, failed))
            elif member.incarnation in last.awaited:
                told.append((member.stage, 0, 0, done, failed))
        for stage, *numbers in told:
            if 0 <= stage < stages:
                counts[stage] = [a + b for a, b in zip(counts[stage], numbers, strict=True)]
        return counts

    # -- questions ----------------------------------------------------------------------------
    def waits(
        self,
        who: bytes,
        asked: to_broker.Jobs,
        jobs: Mapping[bytes, Job],
        now: float,
    ) -> bool:
        """Whether a question waits for last counts.

        Args:
            who: the client.
            asked: its question.
            jobs: the jobs in memory.
            now: monotonic seconds.
        """
        key = (who, asked.ref)
        if key in self.questions:
            return True  # a repetition
        waits = {name: jobs[name].ended_at + PATIENCE for name in self.ending if asked.job in (None, name)}
        waits |= {
            job.id: now + PATIENCE
            for name in asked.over
            if asked.job in (None, name) and (job := _unreported(name, jobs)) is not None
        }
        late = {name for name, until in waits.items() if now < until}
        if late and len(self.questions) < MOST:
            self.questions[key] = Question(asked, late, max(waits[name] for name in late))
            return True
        return False

    def answerable(self, now: float) -> list[tuple[bytes, to_broker.Jobs]]:
        """(client, what it asked) of each question that waits no longer.

        A job whose end has just been reported may still owe its last counts.
        """
        due = [
            (key, q.asked)
            for key, q in self.questions.items()
            if now >= q.until or not (q.jobs or q.asked.job in self.ending)
        ]
        for key, _ in due:
            del self.questions[key]
        return [(who, asked) for (who, _), asked in due]

    def deadline(self) -> float | None:
        """When the next question is answered with the counts that are here."""
        return min((question.until for question in self.questions.values()), default=None)


def _unreported(name: bytes, jobs: Mapping[bytes, Job]) -> Job | None:
    """The job of this id, or the one that carries it, if its sink has not said yet that it has ended."""
    job, root = jobs.get(name), -1
    if job is None:
        carrier, root = place_of(name)
        job = jobs.get(carrier)
    return None if job is None or job.state_of(root) in ENDED else job
