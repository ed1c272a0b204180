"""The jobs that a worker or a sink knows of: those with a stamp, and those that have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol

from zturbo.core.counts import EndedJobs
from zturbo.core.effects import Control, Effect
from zturbo.wire.control import to_broker
from zturbo.wire.messages import Stamp

__all__ = ["MemberJobs", "StampedJob"]


class _Sequencer(Protocol):
    def entered(self) -> list[tuple[int, int]]: ...


class StampedJob(Protocol):
    """The state of one job at a member: the part that is used here."""

    stamp: Stamp

    @property
    def sequencer(self) -> _Sequencer | None:
        """The sequencer of its items; None at a plain stage."""


class MemberJobs:
    """A member's answers to questions about its jobs.

    Args:
        me: incarnation of the member.
        jobs: the state of each job; the member adds and removes them.
        effects: list to which it appends its effects.
    """

    def __init__(self, me: bytes, jobs: Mapping[bytes, StampedJob], effects: list[Effect]) -> None:
        self._me = me
        self._jobs = jobs
        self._effects = effects
        self.ended = EndedJobs(me)

    def is_over(self, job: bytes, epoch: int) -> bool:
        """Whether batches of this epoch are not needed any more: the job has ended, or has a higher epoch."""
        known = self._jobs.get(job)
        return job in self.ended or (known is not None and epoch < known.stamp.epoch)

    def ranks(self) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of each job here."""
        return self._some(0, len(self._jobs))

    def _some(self, after: int, most: int) -> list[tuple[bytes, int, int]]:
        some = islice(self._jobs.items(), after, after + most)
        return [(name, *job.stamp.rank) for name, job in some]

    def named(
        self, after: int, most: int, more: Sequence[tuple[bytes, int, int]]
    ) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of some jobs: of those here, and then of some more.

        Args:
            after: how many to leave out at the front.
            most: how many to return at most.
            more: (job, epoch, revision) of the others.
        """
        here = self._some(after, most)
        start = max(0, after - len(self._jobs))
        return [*here, *more[start : start + most - len(here)]]

    def say_entered(self, name: bytes, epoch: int) -> None:
        """Tell a restarted broker which roots have wholly entered this job's sequencer."""
        job = self._jobs.get(name)
        sequencer = job.sequencer if job is not None and job.stamp.epoch == epoch else None
        roots = sequencer.entered() if sequencer is not None else []
        message = to_broker.Entered(incarnation=self._me, job=name, epoch=epoch, roots=tuple(roots))
        self._effects.append(Control(message))
