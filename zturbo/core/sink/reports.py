"""What a sink reports to the broker of its jobs: complete, failed, ahead of their readers."""

from __future__ import annotations

from zturbo.core.effects import Control, Effect
from zturbo.core.sink.job import KnownFailure, SinkJob
from zturbo.wire.control import to_broker

__all__ = ["Reports"]

REPORT_AFTER = 1.0
"""Seconds after which a job's end that was not confirmed is reported again."""

PAUSE_EVERY = 1.0
"""Seconds between two reports that a job has more than its share of unread results."""

TRIM_EVERY = 0.5
"""Seconds between two words on roots of a job that are needed no more."""

TRIM_BYTES = 8 << 20
"""Bytes of results, about, after which the next word comes sooner."""

LARGE_BYTES = 64 << 20
"""Bytes of a job's batches from which on it is large: its results are not kept for its failed tasks alone."""

MAX_KNOWN_FAILURES = 10_000
"""Most failures that may have been given out when an ordered job starts over: with more it ends."""


class Reports:
    """Reports are repeated, each second, until the broker has heard them or they are no longer true.

    Args:
        me: incarnation of the sink.
        effects: where what is to be done is appended.
        share: bytes of unread results that a job may have before its sources are paused.
    """

    def __init__(self, me: bytes, effects: list[Effect], share: int) -> None:
        self._me = me
        self._effects = effects
        self._share = share
        self._complete: list[tuple[bytes, int, int, int]] = []
        """(job, epoch, results, failed tasks) of jobs whose end is about to be reported."""
        self._ended: dict[bytes, tuple[tuple[int, int, int], ...]] = {}
        """Of these jobs those with order ``roots`` -> the numbers of their roots."""
        self._large: list[bytes] = []
        """Of these jobs the large ones."""

    def deadline(self, job: SinkJob) -> float | None:
        """When a report of this job is due."""
        if job.blame is not None or (job.unconfirmed and not job.unsafe):
            return job.report_at
        return job.pause_at if self._crowded(job) else None

    def _crowded(self, job: SinkJob) -> bool:
        """Whether its sources are too far ahead of its readers."""
        return not job.complete and job.unread > self._share

    def outcome(self, job: SinkJob, now: float) -> None:
        """Report how the job ended, if that is due: all of it is here, or it is not to go on."""
        if now < job.report_at:
            return
        blame = job.blame
        if blame is not None:
            job.report_at = now + REPORT_AFTER
            self._failed(job, *blame)
        elif job.unconfirmed and not job.unsafe:
            job.report_at = now + REPORT_AFTER
            complete = (job.stamp.job, job.stamp.epoch, job.good, job.failed)
            self._complete.append(complete)
            if job.stored_bytes >= LARGE_BYTES:
                self._large.append(job.stamp.job)
            if job.ends:
                self._ended[job.stamp.job] = job.ends.numbers(job.released)

    def say_complete(self) -> None:
        """Report all jobs that were found complete since this was called last, in one message."""
        if self._complete:
            complete, self._complete = tuple(self._complete), []
            ended, self._ended = self._ended, {}
            large, self._large = tuple(self._large), []
            message = to_broker.Complete(incarnation=self._me, jobs=complete, ended=ended, large=large)
            self._effects.append(Control(message))

    def crowding(self, job: SinkJob, now: float) -> None:
        """Have the job's sources paused, if its readers are far behind."""
        if self._crowded(job) and now >= job.pause_at:
            job.pause_at = now + PAUSE_EVERY
            message = to_broker.Pause(incarnation=self._me, job=job.stamp.job, epoch=job.stamp.epoch)
            self._effects.append(Control(message))

    def trimming(self, job: SinkJob, now: float) -> None:
        """Tell the broker of roots that are needed no more, now and then. What is lost of that does no harm:
        each word has all that is in those before it."""
        if job.roots is None or not job.stamp.trims or job.complete or job.freed <= job.roots.taken.results:
            return
        nbytes = job.stored_bytes * (job.freed - job.roots.taken.results) // max(1, job.released)
        if now < job.trim_at and nbytes < TRIM_BYTES:
            return
        taken = job.trim()
        if taken is not None:
            job.trim_at = now + TRIM_EVERY
            self._effects.append(
                Control(
                    to_broker.RootsTaken(
                        incarnation=self._me, job=job.stamp.job, epoch=job.stamp.epoch, taken=taken
                    )
                )
            )

    def known_failures(self, job: SinkJob) -> None:
        """The job has started over: report the failures that were given out, and so stand.

        These are failures of ordered stages and of stages above them. Below the last ordered stage a path
        alone tells that a task is a copy.
        """
        stamp = job.stamp
        if stamp.epoch == 1 or not stamp.ordered:
            return
        waiting = job.by_meta.failures if job.by_meta is not None else []
        known = [*job.results.errors.values(), *waiting]
        origins = {failure.origin for failure in known if isinstance(failure, KnownFailure)}
        failures = [origin for origin in origins if origin is not None and origin[0] <= max(stamp.ordered)]
        if len(failures) > MAX_KNOWN_FAILURES:
            given = f"{len(failures)} failures were given out before the job started over"
            self._failed(job, "ResultsLost", f"{given}: more than can be kept")
            return
        message = to_broker.KnownFailures(
            incarnation=self._me, job=stamp.job, epoch=stamp.epoch, failures=tuple(sorted(failures))
        )
        self._effects.append(Control(message))

    def _failed(self, job: SinkJob, kind: str, error: str) -> None:
        message = to_broker.JobFailed(
            incarnation=self._me, job=job.stamp.job, epoch=job.stamp.epoch, kind=kind, error=error
        )
        self._effects.append(Control(message))
