"""All jobs: those in memory, and those of which only the ledger knows.

A job that has ended leaves memory as soon as the ledger has its end and its last counts. It stays in the
ledger until its retention ends: what is asked of it reads its row. So the broker's memory does not grow with
the number of jobs that have ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from zturbo.jobstates import ENDED, LIVE, JobState
from zturbo.wire.carried import place_of
from zturbo.wire.messages import Stamp
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.quotas import Limits, Quotas

__all__ = ["FIRST_RANK", "Archive", "JobTable", "NoArchive"]

FIRST_RANK = (1, 0)
"""(epoch, revision) of a job's first stamp, which its first batch brings to each member."""


class Archive(Protocol):
    """The jobs that the ledger has."""

    def find(self, *jobs: bytes) -> Job | None:
        """The first of these jobs that there is, as it was committed; None if there is none."""

    def ended(self, before: int | None, most: int) -> list[Job]:
        """Jobs that have ended, the one that was submitted last first.

        Args:
            before: number of a job; only jobs that were submitted before it are returned. None for all.
            most: how many jobs are returned at most.
        """


class NoArchive:
    """The archive of a broker that has no ledger."""

    def find(self, *jobs: bytes) -> Job | None:
        """No job."""

    def ended(self, before: int | None, most: int) -> list[Job]:
        """No jobs."""
        return []


class JobTable:
    """The jobs.

    Args:
        archive: the jobs that the ledger has.
    """

    def __init__(self, archive: Archive) -> None:
        self.quotas = Quotas(Limits())
        self.here: dict[bytes, Job] = {}
        """The jobs in memory, in the order of submission."""
        self.totals: Counter[JobState] = Counter()
        """State -> number of jobs, in memory or not; those that travel together are counted each."""
        self._archive = archive
        self.last = 0
        """Number of the last job."""
        self._leaving: list[bytes] = []
        """Ended jobs that leave memory once the ledger has them."""
        self._dropped: set[bytes] = set()
        """Jobs that are forgotten, and that the ledger may still have."""
        self.restamped: dict[bytes, None] = {}
        """Jobs in memory with a stamp that is not their first: some members may have an older one."""

    def add(self, job: Job) -> None:
        """A job was submitted."""
        self.last += 1
        job.number = self.last
        self.restore(job)

    def restore(self, job: Job) -> None:
        """Take a job of the ledger into memory."""
        self.last = max(self.last, job.number)
        self.here[job.id] = job
        if job.stamp is not None:
            self.stamped(job, job.stamp)
        self.totals[job.state] += job.weight
        if job.state in LIVE:
            self.quotas.add(job)

    def locate(self, job: bytes) -> tuple[Job | None, int]:
        """The job that has this id, or carries the job that has it.

        Returns:
            The job, and -1; or the carrier, and the root that is the job. None, if there is none.
        """
        known = self.here.get(job)
        if known is not None:
            return known, -1
        carrier, root = place_of(job)
        known = self._archived(job, carrier)
        if known is not None and known.id == job:
            return known, -1
        known = self.here.get(carrier, known)
        return (known, root) if known is not None and root < known.carries else (None, -1)

    def find(self, job: bytes) -> Job | None:
        """A job, in memory or not."""
        return self.here.get(job) or self._archived(job)

    def _archived(self, *jobs: bytes) -> Job | None:
        """The first of these jobs that the archive has, and that is not forgotten."""
        if self._dropped:
            jobs = tuple(job for job in jobs if job not in self._dropped)
        return self._archive.find(*jobs) if jobs else None

    def moved(self, job: Job, before: JobState) -> None:
        """A job has gone from this state to the one that it has."""
        self._total(job, before, -1)
        self._total(job, job.state, 1)
        if (before in LIVE) != (job.state in LIVE):
            (self.quotas.remove if before in LIVE else self.quotas.add)(job)

    def roots_over(self, job: Job, roots: Mapping[int, tuple[int, int]]) -> None:
        """These jobs of a carrier that runs have ended: root -> (results, failed tasks)."""
        self._total(job, job.state, -1)
        job.over.update(roots)
        self._total(job, job.state, 1)

    def _total(self, job: Job, state: JobState, by: int) -> None:
        over = len(job.over) if state is JobState.RUNNING else 0
        self.totals[state] += by * (job.weight - over)
        if over:
            self.totals[JobState.DONE] += by * over

    def stamped(self, job: Job, stamp: Stamp) -> None:
        """A job has got this stamp."""
        if stamp.rank > FIRST_RANK:
            self.restamped[job.id] = None

    def leave(self, job: Job) -> None:
        """A job has ended, and nothing more is awaited of it: it need not stay in memory."""
        self._leaving.append(job.id)

    def drop(self, job: bytes, state: JobState, weight: int = 1) -> None:
        """Forget a job, which is in this state and is so many jobs of clients."""
        self.here.pop(job, None)
        self.restamped.pop(job, None)
        self._dropped.add(job)
        self.totals[state] -= weight

    def recorded(self) -> None:
        """The ledger has all that was recorded: let jobs leave."""
        for name in self._leaving:
            job = self.here.get(name)
            if job is not None and job.state in ENDED:
                del self.here[name]
                self.restamped.pop(name, None)
        self._leaving.clear()
        self._dropped.clear()

    def page(self, after: int, most: int) -> tuple[list[Job], int]:
        """Some jobs: first those in memory, in the order of submission; then those that have ended, the one
        that was submitted last first.

        Args:
            after: 0 to begin; then what the call before has returned.
            most: how many jobs are returned at most. One that stands for jobs with names of their own counts
                as so many, and is returned if there is room for one.

        Returns:
            The jobs, and where the next page begins; 0 if there is none.
        """
        jobs: list[Job] = []
        if not most:
            return jobs, after
        room = most
        if after >= 0:
            for job in self.here.values():
                if job.number > after:
                    jobs.append(job)
                    room -= len(job.names) or 1
                    if room <= 0:
                        return jobs, job.number
        before = -after if after < 0 else None
        while room > 0:
            rows = self._archive.ended(before, room)
            if not rows:
                return jobs, 0
            for job in rows:
                before = job.number
                if job.id not in self.here and job.id not in self._dropped:
                    jobs.append(job)
                    room -= len(job.names) or 1
                if room <= 0:
                    break
        return jobs, -before if before else 0
