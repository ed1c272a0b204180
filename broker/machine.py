"""The broker's machine: jobs in, roots out to the first stage, completion noted.

It decides; the shell in :mod:`zturbo_broker.server` does. What it records goes to the ledger before anything
that was decided after it leaves the process: the shell commits once per round (group commit).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from zturbo.core.effects import Confirm
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.messages import Batch, DataMessage, Statement
from zturbo_broker.job import ENDED
from zturbo_broker.members import Members
from zturbo_broker.requests import Requests
from zturbo_broker.state import PipelineInfo

__all__ = ["BrokerMachine", "PipelineInfo"]


class BrokerMachine(Members, Requests):
    """The broker: members and clients on one side, data and time on the other."""

    @cached_property
    def handlers(self) -> dict[type[Message], Callable[[bytes, Any, float], None]]:
        """Class of message -> its handler: (who said it, message, time)."""
        return {
            to_broker.Hello: self.hello,
            to_broker.GetView: self.get_view,
            to_broker.Leave: self.leave,
            to_broker.Progress: self.note_progress,
            to_broker.LastCounts: self.last_counts,
            to_broker.Broken: self.broken,
            to_broker.Draining: self.drain,
            to_broker.Trouble: self.note_trouble,
            to_broker.Held: self.held,
            to_broker.Entered: self.entered,
            to_broker.Recovered: self.recovered,
            to_broker.Pause: self.pause,
            to_broker.Complete: self.complete,
            to_broker.Kept: self.kept,
            to_broker.JobFailed: self.job_failed,
            to_broker.Renew: self.renew,
            to_broker.Exited: self.exited,
            to_broker.StartFailed: self.start_failed,
            to_broker.ClientHello: self.client_hello,
            to_broker.Submit: self.submit,
            to_broker.Feed: self.feed,
            to_broker.CloseFeed: self.close_feed,
            to_broker.Attach: self.attach,
            to_broker.Watch: self.watch,
            to_broker.Cancel: self.cancel,
            to_broker.Release: self.release,
            to_broker.Jobs: self.describe,
        }

    def control(self, who: bytes, message: Message, now: float) -> None:
        """A control message.

        Raises:
            DecodeError: a relation between its fields that no schema has does not hold; nothing is changed.
        """
        self.heard(who, now)
        self.handlers[type(message)](who, message, now)

    def complete(self, identity: bytes, message: to_broker.Complete, now: float) -> None:
        """A sink has all of a job."""
        job = self.jobs.get(message.job)
        if job is None or job.state in ENDED:
            self.effects.append(Confirm(identity, from_broker.Confirmed(job=message.job)))
            return
        stamp = job.stamp
        if stamp is None or job.state != "running" or message.epoch != job.epoch:
            return
        if message.incarnation != stamp.sink:
            return
        job.results, job.failed = message.results, message.failed
        if job.failed and job.retries_left:
            job.retries += 1
            job.incidents.append(f"{job.failed} tasks failed: retry {job.retries}")
            self._wait_again(job)
            self._settle(now)
            return
        self._end(job, "done", None, None, now)
        self.effects.append(Confirm(identity, from_broker.Confirmed(job=job.id)))
        self._settle(now)

    def job_failed(self, identity: bytes, message: to_broker.JobFailed, now: float) -> None:
        """A sequencer saw what cannot be mended."""
        job = self.jobs.get(message.job)
        if job is not None and job.state == "running" and message.epoch == job.epoch:
            self._end(job, "failed", message.kind, message.error, now)
        self._settle(now)

    def loaded(self, job_id: bytes, seq: int, roots: Batch, now: float) -> None:
        """A chunk was read from the ledger."""
        if (job := self.jobs.get(job_id)) is not None:
            self.roots.loaded(job, seq, roots)
        self._settle(now)

    def unreadable(self, job_id: bytes, error: str, now: float) -> None:
        """A chunk cannot be read from the ledger any more: its job cannot be whole."""
        job = self.jobs.get(job_id)
        if job is not None and job.state not in ENDED:
            self._end(job, "failed", "JobFailed", error, now)
        self._settle(now)

    def data(self, message: DataMessage, now: float) -> None:
        """A first stage's word on what it got."""
        if type(message) is Statement:
            self.outlet.statement(message, now)
        else:
            self.bad += 1
        self._settle(now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times = [
            self.membership.deadline(),
            self.outlet.deadline(),
            self.recovery.deadline(),
            self.lost_sinks.deadline(),
            self.complaints.deadline(),
            min(self.unkept.values(), default=None),
            min((job.deadline for job in self.jobs.values() if job.deadline is not None), default=None),
            min(self.feeders.values(), default=float("inf")) + self.feed_timeout,
            self.counts.deadline(),
        ]
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Time has passed."""
        expired = self.membership.expire(now)
        if expired:
            self._taken_out(expired, "was not heard of for its lease, and counts as dead", now)
        self._give_up_sinks(now)
        for peer in self.outlet.complaints(now):
            self.complaints.add(self.me, peer, now)
        worst = self.complaints.due(now)
        fenced = self.membership.remove(worst) if worst is not None else None
        if fenced is not None:
            self._taken_out([fenced], "was taken out: it and others do not reach each other", now)
        self._time_out(now)
        self._ask_kept(now)
        while self._ended and now - self._ended[0][0] > self.keep:
            job = self.jobs.get(self._ended.popleft()[1])
            if job is not None:
                self._prune(job)
        self.outlet.tick(now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        super()._settle(now)
        self.answer(now)

    def check(self) -> None:
        """Assert every invariant."""
        self.outlet.check()
        self.membership.check()
        assert self.roots.cached == sum(b.nbytes for job in self.jobs.values() for b in job.cache.values())
