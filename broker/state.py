"""What the broker knows, and what becomes of a job: placed, started over, ended.

The base of :class:`zturbo_broker.machine.BrokerMachine`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from zturbo.core.custody import Custody
from zturbo.core.effects import Confirm, Control, Effect, Record, Reply
from zturbo.core.outlet import Outlet
from zturbo.wire.control import from_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Stamp
from zturbo_broker.complaints import Complaints
from zturbo_broker.counts import Counts
from zturbo_broker.dispatch import FairQueue
from zturbo_broker.job import ENDED, Job
from zturbo_broker.jobs import check_transition
from zturbo_broker.membership import Membership
from zturbo_broker.placement import Placed, Placement, StageInfo
from zturbo_broker.problems import Problems
from zturbo_broker.recovery import ASK_EVERY, LostSinks, Recovery
from zturbo_broker.roots import Roots

__all__ = ["BrokerState", "PipelineInfo"]

KEEP_JOBS = 10_000
"""Ended jobs whose results are kept at most; the oldest go first."""


@dataclass(slots=True)
class PipelineInfo:
    """A pipeline as the network file has it."""

    name: str
    stages: list[str]
    durability: str = "fsync"
    order: str = "path"
    logs: bool = False
    max_task_bytes: int = 256 << 20
    max_task_retries: int = 3
    """Deaths of workers after which the task that was running each time is condemned."""
    queue: FairQueue = field(default_factory=FairQueue)
    """Running jobs that have roots to send."""
    waiting: dict[bytes, None] = field(default_factory=dict)
    """Jobs that have no place yet, in the order of coming."""


class BrokerState:
    """The broker's state.

    Args:
        member: the broker's own record in the view.
        pipelines: what it serves.
        view: number of the view to begin with.
        lease: seconds that a member lives without being renewed.
        keep: seconds that results of an ended job are kept.
        feed_timeout: seconds that a client may be silent while it feeds a job.
        grace: seconds that a lost sink has to come back with its spool.
        version: of zturbo: members of another are refused.
        cluster: id of the ledger, for clients.
    """

    def __init__(
        self,
        member: Member,
        pipelines: list[PipelineInfo],
        *,
        view: int,
        lease: float = 5.0,
        keep: float = 86400.0,
        feed_timeout: float = 60.0,
        grace: float = 10.0,
        version: str = "",
        cluster: bytes = b"",
    ) -> None:
        self.me = member.incarnation
        self.cluster = cluster
        self.version = version
        self.keep = keep
        self.feed_timeout = feed_timeout
        self.effects: list[Effect] = []
        self.pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self.membership = Membership(member, number=view, lease=lease)
        self.placement = Placement()
        self.custody: Custody[bytes] = Custody()
        self.outlet = Outlet(self.me, member.host, self.custody, self.effects)
        self.roots = Roots(self.outlet, self.effects, self._ok)
        self.jobs: dict[bytes, Job] = {}
        self.recovery = Recovery(self.outlet, self.effects)
        self.lost_sinks = LostSinks(grace)
        self.complaints = Complaints(lease, self._heard)
        self.unkept: dict[bytes, float] = {}
        """Job that started over -> when its sink is asked again which failures were given out."""
        self.draining: set[bytes] = set()
        """Members that are about to leave: no job is placed on them."""
        self.problems = Problems()
        self.trouble: dict[bytes, str] = {}
        """Member -> what keeps it from going on, such as a full disk."""
        self.feeders: dict[bytes, float] = {}
        """Client that feeds a job -> when it was last heard."""
        self.counts = Counts()
        self.watches: dict[bytes, tuple[int, frozenset[bytes], float]] = {}
        """Client -> (ref, jobs whose end it waits for, when it last said so)."""
        self.voided: dict[bytes, float] = {}
        """Job that has ended before its time -> when: nodes are told so again for a while."""
        self.bad = 0
        self._viewed = view
        self._readers = view << 32
        """Numbers the readers of results: of two that attach to a job the later one has the higher."""
        self._now = 0.0
        self._unplaced = True
        """Whether something has happened that may give a waiting job its place."""
        self._ended: deque[tuple[float, bytes]] = deque()

    def _heard(self, incarnation: bytes) -> float | None:
        """When this member was last heard; None if it is none. This broker always hears itself."""
        return math.inf if incarnation == self.me else self.membership.heard(incarnation)

    def name_of(self, member: Member) -> str:
        """A member's stage, or what it is, for people."""
        pipeline = self.pipelines.get(member.pipeline)
        if pipeline is not None and 0 <= member.stage < len(pipeline.stages):
            return f"{member.pipeline}.{pipeline.stages[member.stage]}"
        return member.role

    def _end(self, job: Job, state: str, kind: str | None, error: str | None, now: float) -> None:
        self._move(job, state)
        self._ended.append((now, job.id))
        while len(self._ended) > KEEP_JOBS:
            oldest = self.jobs.get(self._ended.popleft()[1])
            if oldest is not None:
                self._prune(oldest)
        self._unplaced = True
        job.error_kind, job.error, job.waiting = kind, error, None
        job.ended_at = now
        job.deadline = None
        self._unplace(job)
        feeding = any(
            j.client == job.client and j.stream and j.state not in ENDED for j in self.jobs.values()
        )
        if job.client in self.feeders and not feeding:
            del self.feeders[job.client]
        if (pipeline := self.pipelines.get(job.pipeline)) is not None:
            pipeline.queue.remove(job.id)
            pipeline.waiting.pop(job.id, None)
        self.roots.drop(job)
        self.recovery.drop(job.id)
        for identity, ref in job.held_acks:
            self._error(identity, ref, "JobError", f"the job is {state}")
        job.held_acks.clear()
        if state != "done" and job.stamp is not None:
            job.results, job.failed, *_ = self.counts.of(job.stamp.sink, job.id)
        self._record(job)
        self.effects.append(Record("drop_chunks", (job.id,)))
        told = [
            member
            for member in self.membership.members()
            if member.pipeline == job.pipeline or (member.role == "sink" and state != "done")
        ]
        for member in told:
            self.effects.append(Control(from_broker.Forget(jobs=(job.id,)), member.incarnation))
        if job.stamp is not None:
            sink = job.stamp.sink
            self.counts.ended(job, [m for m in told if m.role == "worker" or m.incarnation == sink])
        if state != "done":  # their nodes end what does not stop by itself
            self.voided[job.id] = now
            for node in self.membership.nodes(job.pipeline):
                self.effects.append(Control(from_broker.Forget(jobs=(job.id,)), node))

        for identity, (ref, jobs, _) in list(self.watches.items()):
            if job.id in jobs:
                del self.watches[identity]
                self._ok(identity, ref, ((job.id, state, kind, error),))

    def _counts(self, job: Job, stages: int) -> list[list[int]]:
        """Of each stage of a job: what is queued, runs, is done, failed."""
        counts = self.counts.of_stages(job, self.membership.members(job.pipeline), stages)
        if counts and job.state not in ENDED:
            waiting = (parcel.batch for queue in self.outlet.pending.values() for parcel in queue)
            counts[0][0] += job.backlog + sum(batch.n for batch in waiting if batch.job == job.id)
        return counts

    def _prune(self, job: Job) -> None:
        if job.stamp is not None:
            self.effects.append(Control(from_broker.Forget(jobs=(job.id,)), job.stamp.sink))
        self.effects.append(Record("drop_job", (job.id,)))
        self.counts.forget(job.id)
        del self.jobs[job.id]

    def _move(self, job: Job, state: str) -> None:
        check_transition(job.state, state)
        job.state = state

    def _record(self, job: Job) -> None:
        self.effects.append(Record("put_job", (job,)))

    def _ok(self, identity: bytes, ref: int, value: Any) -> None:
        self.effects.append(Confirm(identity, from_broker.Ok(ref=ref, value=value)))

    def _answer(self, identity: bytes, ref: int, value: Any) -> None:
        """An answer that depends on nothing that is still to be written."""
        self.effects.append(Reply(identity, from_broker.Ok(ref=ref, value=value)))

    def _error(self, identity: bytes, ref: int, kind: str, text: str) -> None:
        self.effects.append(Confirm(identity, from_broker.Error(ref=ref, kind=kind, message=text)))

    def _wait_again(self, job: Job) -> None:
        """The job starts over in a higher epoch: a stamped worker or its sink is gone, or it is retried."""
        self._move(job, "waiting")
        self.recovery.drop(job.id)
        self._unplace(job)
        self._unplaced = True
        if (pipeline := self.pipelines.get(job.pipeline)) is not None:
            pipeline.queue.remove(job.id)
            pipeline.waiting[job.id] = None
        else:
            job.waiting = f"pipeline {job.pipeline}: this broker's network file has none of that name"
        self.roots.rewind(job)

    def _results_lost(self, job: Job, why: str, now: float) -> None:
        """Its sink is gone for good, or has lost what it had: start over, if that can give the same."""
        stamp = job.stamp
        if job.wild and stamp is not None and stamp.hold != "all":
            text = f"{why}; a stage is not deterministic, so that another run would not fit what was given"
            self._end(job, "failed", "ResultsLost", f"{text}: submit the job again", now)
        else:
            job.incidents.append(f"{why}: the job starts over")
            self._wait_again(job)

    def _unplace(self, job: Job) -> None:
        self.unkept.pop(job.id, None)
        if job.placed is not None:
            self.placement.free(job.placed)
            job.placed = None

    def _place_all(self) -> None:
        """Place waiting jobs, first come first served: where one has to wait, so have those behind it."""
        if not self._unplaced:
            return
        self._unplaced = False
        for pipeline in self.pipelines.values():
            for name in list(pipeline.waiting):
                self._place(self.jobs[name], pipeline)
                if self.jobs[name].state == "waiting":
                    break
                del pipeline.waiting[name]

    def _queue(self, job: Job) -> None:
        """The job may have roots to send."""
        if job.state == "running" and job.kept and not job.recovering:
            pipeline = self.pipelines[job.pipeline]
            pipeline.queue.add(job.id, job.client, job.options.get("priority", 0))

    def _place(self, job: Job, pipeline: PipelineInfo) -> None:
        workers = [self.membership.members(pipeline.name, index) for index in range(len(pipeline.stages))]
        stages = [
            StageInfo(name, here[0].ordered if here else None)
            for name, here in zip(pipeline.stages, workers, strict=True)
        ]
        sinks = self._sinks(job)
        placed = self.placement.place(pipeline.name, stages, workers, sinks, self.draining)
        if not isinstance(placed, Placed):
            job.waiting = placed
            missing = [(pipeline.name, index) for index, here in enumerate(workers) if not here]
            if not sinks:
                missing.append(("", -1))
            for stage in missing:
                if problem := self.problems.of(*stage, self._now):
                    job.waiting = f"{placed}: it does not start: {problem}"
                    break
            return
        job.placed, job.waiting = placed, None
        job.epoch += 1
        self.counts.started_over(job)
        job.kept = job.epoch == 1 or not placed.ordered
        if not job.kept:
            self.unkept[job.id] = self._now + ASK_EVERY
        self._move(job, "running")
        job.stamp = Stamp(
            job=job.id,
            epoch=job.epoch,
            pipeline=job.pipeline,
            ordered=placed.ordered,
            sink=placed.sink,
            durability=job.options.get("durability", pipeline.durability),
            marks=job.marks,
            order=job.options.get("order", pipeline.order),
            logs=pipeline.logs,
            spool=next(member.spool for member in sinks if member.incarnation == placed.sink),
            hold=self._hold(job, placed, workers),
            fail_fast=bool(job.options.get("fail_fast")) and not job.retries_left,
        )
        self._record(job)
        self.outlet.stamp(job.stamp)
        self._queue(job)
        if job.epoch > 1:
            for member in self.membership.members():
                if member.role == "sink" or member.pipeline == job.pipeline:
                    self.effects.append(Control(from_broker.NewStamp(stamp=job.stamp), member.incarnation))

    def _sinks(self, job: Job) -> list[Member]:
        """Where its results may go: where they were, if that may come back: it knows what was given out."""
        sinks = self.membership.sinks()
        if job.stamp is None:
            return sinks
        if job.stamp.spool in self.lost_sinks:
            return []
        return [member for member in sinks if member.spool == job.stamp.spool] or sinks

    def _hold(self, job: Job, placed: Placed, workers: list[list[Member]]) -> str:
        """What its sink keeps back, because another epoch may give something else."""
        job.wild = job.wild or any(not member.deterministic for here in workers for member in here)
        if job.wild and (placed.ordered or job.retries_left):
            return "all"
        return "failures" if job.retries_left else ""

    def _restamp(self, job: Job, stamp: Stamp) -> None:
        """A higher revision: tell all who may have to do with the job."""
        job.stamp = stamp
        self._record(job)
        if job.state == "running":
            self.outlet.stamp(stamp)
        for member in self.membership.members():
            if member.role == "sink" or member.pipeline == job.pipeline:
                self.effects.append(Control(from_broker.NewStamp(stamp=stamp), member.incarnation))

    def _ask_kept(self, now: float) -> None:
        """The sinks of jobs that started over are told so again; they answer with what was given out."""
        for name, at in self.unkept.items():
            stamp = self.jobs[name].stamp
            if now >= at and stamp is not None:
                self.unkept[name] = now + ASK_EVERY
                self.effects.append(Control(from_broker.NewStamp(stamp=stamp), stamp.sink))

    def _record_members(self) -> None:
        members = self.membership.members()
        self.effects.append(Record("set_members", (self.membership.number, members)))

    def _adopt_orphans(self) -> None:
        """Roots that a worker held since before this broker was started, and has lost or given back."""
        for parcel in self.outlet.orphans:
            job = self.jobs.get(parcel.batch.job)
            if job is None or job.epoch != parcel.batch.epoch:
                continue
            if job.recovering:
                self.recovery.returned(job, parcel.batch.runs)
            else:
                self.roots.again(job, parcel.batch.runs)
                self._queue(job)
        self.outlet.orphans.clear()

    def _settle(self, now: float) -> None:
        self._now = now
        self.custody.zeroed.clear()
        if self.membership.number != self._viewed:
            self._viewed = self.membership.number
            view = self.membership.view()
            for member in self.membership.members():
                self.effects.append(Control(from_broker.NewView(view=view), member.incarnation))
            self.outlet.set_view(view, self._outlet_peers(), now)
        if self.outlet.orphans:
            self._adopt_orphans()
        self._place_all()
        if self.recovery.jobs:
            self.recovery.ask({name: len(p.stages) for name, p in self.pipelines.items()}, now)
        for pipeline in self.pipelines.values():
            self.roots.dispatch(pipeline.queue, self.jobs, len(pipeline.stages), now)
        self.outlet.pump(now)

    def _outlet_peers(self) -> list[Member]:
        """Who gets roots, and who gets their END: the first stage, ordered workers, and sinks."""
        return [m for m in self.membership.members() if m.stage == 0 or m.ordered or m.role == "sink"]

    def _watch(self, job: Job, now: float) -> None:
        """Time-outs of a job begin."""
        if "timeout" in job.options:
            job.deadline = now + job.options["timeout"]
        if job.stream and not job.closed:
            self.feeders[job.client] = now

    def _time_out(self, now: float) -> None:
        """Jobs that took too long, and feeds whose client is gone."""
        late = [job for job in self.jobs.values() if job.deadline is not None and job.deadline <= now]
        for job in late:
            text = f"the job was not complete within its time-out of {job.options['timeout']:g} s"
            self._end(job, "failed", "JobTimeout", text, now)
        for client in [c for c, at in self.feeders.items() if now - at >= self.feed_timeout]:
            del self.feeders[client]
            for job in list(self.jobs.values()):
                if job.client == client and job.stream and not job.closed and job.state not in ENDED:
                    text = f"its client fed it and was not heard of for {self.feed_timeout:g} s"
                    self._end(job, "failed", "ClientLost", text, now)
