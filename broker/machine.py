"""The broker's machine: jobs in, roots out to the first stage, completion noted.

It decides; the shell in :mod:`broker.server` does. What it records goes to the ledger before anything
that was decided after it leaves the process: the shell commits once per round (group commit).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from broker.complaints import Complaints
from broker.dispatch import FairQueue
from broker.job import ENDED, Job
from broker.jobs import check_transition
from broker.membership import Membership
from broker.placement import Placed, Placement, StageInfo
from broker.recovery import LostSinks, Recovery, check_held, check_roots
from broker.roots import Roots
from broker.strikes import Death, strike
from zturbo.core.custody import Custody
from zturbo.core.effects import Confirm, Control, Effect, Record
from zturbo.core.outlet import Outlet
from zturbo.errors import DecodeError
from zturbo.wire.control import Member
from zturbo.wire.messages import PROTOCOL, Batch, DataMessage, Stamp, Statement

__all__ = ["BrokerMachine", "PipelineInfo"]

PAUSE = 3.0
"""Seconds that a job stays paused after its sink last said so."""

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
    problems: dict[int, str] = field(default_factory=dict)
    """Stage -> why its workers do not start."""


class BrokerMachine:
    """The broker.

    Args:
        member: the broker's own record in the view.
        pipelines: what it serves.
        view: number of the view to begin with.
        lease: seconds that a member lives without being renewed.
        keep: seconds that results of an ended job are kept.
        feed_timeout: seconds that a client may be silent while it feeds a job.
        grace: seconds that a lost sink has to come back with its spool.
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
    ) -> None:
        self.me = member.incarnation
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
        self.complaints = Complaints(lease)
        self.draining: set[bytes] = set()
        """Members that are about to leave: no job is placed on them."""
        self.trouble: dict[bytes, str] = {}
        """Member -> what keeps it from going on, such as a full disk."""
        self.feeders: dict[bytes, float] = {}
        """Client that feeds a job -> when it was last heard."""
        self.progress: dict[bytes, dict[bytes, int]] = {}
        """Member -> job -> what its stage has given: outputs, failures, drops."""
        self.bad = 0
        self._viewed = view
        self._readers = view << 32
        """Numbers the readers of results: of two that attach to a job the later one has the higher."""
        self._now = 0.0
        self._unplaced = True
        """Whether something has happened that may give a waiting job its place."""
        self._ended: deque[tuple[float, bytes]] = deque()

    # -- restart ------------------------------------------------------------------------------
    def restore(self, members: list[Member], jobs: list[Job], now: float) -> None:
        """What the ledger has: the same members, and jobs that go on as far as they are known to."""
        self.membership.restore(members, now)
        self._viewed = -1  # nobody has been told of this view
        here = {member.incarnation for member in members}
        for member in members:
            if member.role == "worker" and member.stage == 0 and not member.ordered:
                self.recovery.silent[member.incarnation] = member.pipeline
        for job in jobs:
            self.jobs[job.id] = job
            if job.state in ENDED:
                job.ended_at = now
                self._ended.append((now, job.id))
                if job.state == "done" and job.stamp is not None and job.stamp.sink not in here:
                    self.lost_sinks.add(job.stamp.spool, now)
                continue
            self._watch(job, now)
            if job.state == "running":
                self._take_up(job, here, now)
            else:
                self.roots.rewind(job)
                if job.pipeline in self.pipelines:
                    self.pipelines[job.pipeline].waiting[job.id] = None
        self._settle(now)

    def _take_up(self, job: Job, here: set[bytes], now: float) -> None:
        """A job that was running: it goes on, unless an ordered stage's worker is gone."""
        stamp = job.stamp
        if stamp is None or job.pipeline not in self.pipelines or not {*stamp.ordered.values()} <= here:
            self._wait_again(job)
            return
        job.placed = Placed(dict(stamp.ordered), stamp.sink)
        self.placement.take(job.placed)
        self.outlet.stamp(stamp)
        if stamp.sink not in here:
            self.lost_sinks.add(stamp.spool, now)
        job.recovering = True
        self.recovery.jobs[job.id] = job

    def held(self, identity: bytes, message: dict[str, Any], now: float) -> None:
        """A worker of a first stage says which roots it has of this broker's predecessor."""
        if not check_held(message["items"]):
            raise DecodeError("held: field 'items' is malformed")
        if message["broker"] == self.me and message["incarnation"] in self.membership:
            self.recovery.report(message["incarnation"], message["items"], now)
            self.effects.append(Control({"type": "held_ok", "broker": self.me}, identity))
        self._settle(now)

    def entered(self, message: dict[str, Any], now: float) -> None:
        """A first sequencer says which of a job's roots have wholly entered it."""
        if not check_roots(message["roots"]):
            raise DecodeError("entered: field 'roots' is malformed")
        found = self.recovery.entered(message["job"], message["epoch"], message["roots"])
        if found is not None:
            job, safe = found
            self.roots.resume(job, safe)
            self._queue(job)
        self._settle(now)

    def recovered(self, identity: bytes, message: dict[str, Any], now: float) -> None:
        """A sink has read its spool: its jobs go on with it."""
        sink = self.membership.get(message["incarnation"])
        if sink is None or not sink.spool:
            return
        self.lost_sinks.back(sink.spool)
        damaged = set(message["damaged"])
        for job in list(self.jobs.values()):
            stamp = job.stamp
            if stamp is None or stamp.spool != sink.spool or stamp.sink == sink.incarnation:
                continue
            if job.id in damaged:
                job.incidents.append(f"the spool of {sink.host} is damaged where it had this job")
                if job.state == "running":
                    self._wait_again(job)
                continue
            if job.placed is not None:
                self.placement.free(job.placed)
                job.placed = Placed(job.placed.ordered, sink.incarnation)
                self.placement.take(job.placed)
            self._restamp(job, replace(stamp, sink=sink.incarnation, revision=stamp.revision + 1))
        self._remind(sink, message["jobs"])
        self.effects.append(Control({"type": "recovered_ok"}, identity))
        self._settle(now)

    def _restamp(self, job: Job, stamp: Stamp) -> None:
        """A higher revision: tell all who may have to do with the job."""
        job.stamp = stamp
        self._record(job)
        if job.state == "running":
            self.outlet.stamp(stamp)
        for member in self.membership.members():
            if member.role == "sink" or member.pipeline == job.pipeline:
                self.effects.append(Control({"type": "stamp", "stamp": stamp}, member.incarnation))

    # -- members ------------------------------------------------------------------------------
    def hello(self, identity: bytes, message: dict[str, Any], now: float) -> None:
        """A worker or a sink introduces itself, and repeats it as its heartbeat."""
        member: Member = message["member"]
        problem = self._misfit(member, message)
        if problem:
            self.effects.append(Control({"type": "refused", "reason": problem}, identity))
            return
        changed = self.membership.join(member, message["node"], message["pid"], message["view"], now)
        if changed is None:
            reason = "this incarnation was taken out of the view"
            self.effects.append(Control({"type": "refused", "reason": reason}, identity))
        elif changed:
            self._unplaced = True
            pipeline = self.pipelines.get(member.pipeline)
            if pipeline is not None:
                pipeline.problems.pop(member.stage, None)
            self._record_members()
            self._welcome(identity, member)
        elif message["view"] != self.membership.number:
            self._welcome(identity, member)
        if changed is not None:
            self._remind(member, message["jobs"])
        self._settle(now)

    def _misfit(self, member: Member, message: dict[str, Any]) -> str | None:
        if message["protocol"] != PROTOCOL:
            return f"it speaks protocol {message['protocol']}, this broker {PROTOCOL}"
        if message["version"] != self.version:
            return f"it is zturbo {message['version']}, this broker {self.version}: install one on all hosts"
        if member.role == "sink":
            return None
        pipeline = self.pipelines.get(member.pipeline)
        if member.role != "worker" or pipeline is None or not 0 <= member.stage < len(pipeline.stages):
            return f"this broker has no stage {member.pipeline}.{message['stage']}"
        if pipeline.stages[member.stage] != message["stage"]:
            name = pipeline.stages[member.stage]
            return f"stage {member.stage} of {member.pipeline} is {name!r} here, not {message['stage']!r}"
        return None

    def _remind(self, member: Member, known: Sequence[Any]) -> None:
        """A member names jobs that it knows; a word that they have ended may have got lost."""
        ended = [
            name
            for name in known
            if type(name) is bytes
            and ((job := self.jobs.get(name)) is None or (member.role == "worker" and job.state in ENDED))
        ]
        if ended:
            self.effects.append(Control({"type": "forget", "jobs": ended}, member.incarnation))

    def _welcome(self, identity: bytes, member: Member) -> None:
        for job in self.jobs.values():  # first what else may have got lost: the view is what others act on
            stamp = job.stamp
            if job.state == "running" and stamp is not None and stamp.rank > (1, 0):
                if member.role == "sink" or member.pipeline == job.pipeline:
                    self.effects.append(Control({"type": "stamp", "stamp": stamp}, identity))
        message = {"type": "welcome", "view": self.membership.view(), "broker": self.me}
        self.effects.append(Control({**message, "version": self.version}, identity))

    def get_view(self, identity: bytes) -> None:
        """Somebody met a peer with a newer view than his."""
        self.effects.append(Control({"type": "view", "view": self.membership.view()}, identity))

    def renew(self, alive: Sequence[bytes], now: float) -> None:
        """A node's word that these live."""
        self.membership.renew([inc for inc in alive if type(inc) is bytes], now)

    def exited(self, incarnation: bytes, now: float, death: Death | None = None) -> None:
        """A node saw this member exit, or it says goodbye itself."""
        member = self.membership.remove(incarnation)
        if member is None:
            return
        if death is not None and member.role == "worker":
            death = replace(death, stage=member.stage)
            self._note_death(member, death)
        self._lost([member], now)

    def _note_death(self, member: Member, death: Death) -> None:
        """Tell the job that was running; count a strike. The marks are said before the view is."""
        running = death.running
        job = self.jobs.get(running[0]) if running is not None else None
        for other in self.jobs.values():
            stamp = other.stamp
            concerned = stamp is not None and member.incarnation in stamp.ordered.values()
            if other is job or (concerned and other.state == "running"):
                other.incidents.append(death.sentence)
        if job is None or job.state != "running" or running is None or job.stamp is None:
            return
        pipeline = self.pipelines.get(job.pipeline)
        limit = pipeline.max_task_retries if pipeline is not None else 3
        if running[1] == job.epoch and strike(job, death, limit):
            self._restamp(job, replace(job.stamp, marks=job.marks, revision=job.stamp.revision + 1))
        else:
            self._record(job)

    def broken(self, message: dict[str, Any], now: float) -> None:
        """A member gets no answer from another, though the broker hears both."""
        self.complaints.add(message["incarnation"], message["peer"], now)

    def drain(self, message: dict[str, Any], now: float) -> None:
        """A member is about to leave."""
        if message["incarnation"] in self.membership:
            self.draining.add(message["incarnation"])
        self._settle(now)

    def note_trouble(self, message: dict[str, Any]) -> None:
        """A member says what keeps it from going on; an empty text ends it."""
        if message["incarnation"] in self.membership:
            self.trouble[message["incarnation"]] = message["text"]

    def pause(self, message: dict[str, Any], now: float) -> None:
        """A sink has more than a job's share of unread results: its sources wait. Repeated while it lasts."""
        job = self.jobs.get(message["job"])
        if job is not None and job.epoch == message["epoch"]:
            job.paused_until = now + PAUSE

    def start_failed(self, stage: str, text: str, now: float) -> None:
        """A worker of ``pipeline.stage`` could not start."""
        name, _, stage_name = stage.rpartition(".")
        pipeline = self.pipelines.get(name)
        if pipeline is not None and stage_name in pipeline.stages:
            pipeline.problems[pipeline.stages.index(stage_name)] = text
            self._unplaced = True
        self._settle(now)

    def _lost(self, members: list[Member], now: float) -> None:
        gone = {member.incarnation for member in members}
        for incarnation in gone:
            self.progress.pop(incarnation, None)
            self.trouble.pop(incarnation, None)
            self.draining.discard(incarnation)
            self.recovery.lost(incarnation)
        self._record_members()
        self._unplaced = True
        for member in members:
            if member.role == "sink" and member.spool:
                self.lost_sinks.add(member.spool, now)
        for job in self.jobs.values():
            stamp = job.stamp
            if stamp is None or job.state != "running":
                continue
            if gone & {*stamp.ordered.values()} or (stamp.sink in gone and not stamp.spool):
                self._wait_again(job)
        self._settle(now)

    def _give_up_sinks(self, now: float) -> None:
        """A sink has not come back: what it had is run again."""
        for spool in self.lost_sinks.given_up(now):
            for job in self.jobs.values():
                if job.state == "running" and job.stamp is not None and job.stamp.spool == spool:
                    job.incidents.append("the sink did not come back with its spool: the job starts over")
                    self._wait_again(job)

    def _record_members(self) -> None:
        members = self.membership.members()
        self.effects.append(Record("set_members", (self.membership.number, members)))

    # -- jobs ---------------------------------------------------------------------------------
    def submit(self, identity: bytes, message: dict[str, Any], root: Batch | None, now: float) -> None:
        """A client submits a job; said twice it is one job."""
        ref, name = message["ref"], message["job"]
        known = self.jobs.get(name)
        if known is not None:
            if known.digest != message["digest"]:
                self._error(identity, ref, "JobConflict", "this job id was submitted with other content")
            else:
                self._ok(identity, ref, self._whereabouts(known))
            return
        pipeline = self.pipelines.get(message["pipeline"])
        if pipeline is None:
            names = ", ".join(sorted(self.pipelines)) or "none"
            text = f"no pipeline {message['pipeline']!r} here; this broker has: {names}"
            self._error(identity, ref, "UnknownPipeline", text)
            return
        options = message["options"]
        problem = _check_options(options)
        if problem:
            self._error(identity, ref, "UsageError", problem)
            return
        job = Job(
            id=name,
            name=message["name"],
            pipeline=pipeline.name,
            client=message["client"],
            stream=message["stream"],
            options=options,
            digest=message["digest"],
        )
        self.jobs[name] = job
        self._watch(job, now)
        pipeline.waiting[name] = None
        self._unplaced = True
        self._record(job)
        if root is not None:
            self.roots.add(job, -1, 1, root)
            job.closed, job.total = True, 1
            self._record(job)
        self._settle(now)
        self._ok(identity, ref, self._whereabouts(job))

    def _watch(self, job: Job, now: float) -> None:
        """Time-outs of a job begin."""
        if "timeout" in job.options:
            job.deadline = now + job.options["timeout"]
        if job.stream and not job.closed:
            self.feeders[job.client] = now

    def heard(self, client: bytes, now: float) -> None:
        """A sign of a client."""
        if client in self.feeders:
            self.feeders[client] = now

    def feed(self, identity: bytes, message: dict[str, Any], roots: Batch, now: float) -> None:
        """A chunk of a streamed job's roots."""
        ref = message["ref"]
        job = self.jobs.get(message["job"])
        if job is None:
            self._error(identity, ref, "UsageError", "no such job")
        elif job.state in ENDED and (job.state != "done" or message["seq"] >= len(job.chunks)):
            self._error(identity, ref, "JobError", f"the job is {job.state}")
        elif not job.stream or (job.closed and message["seq"] >= len(job.chunks)):
            self._error(identity, ref, "UsageError", "the job's feed is closed")
        elif message["seq"] > len(job.chunks):
            return  # one before it got lost; the client says both again
        elif message["seq"] < len(job.chunks):
            if (identity, ref) not in job.held_acks:
                self._ok(identity, ref, {"fed": len(job.chunks)})
        else:
            first = job.total
            if message["first"] != first or message["n"] != roots.n:
                self._error(identity, ref, "UsageError", f"chunk {message['seq']} begins at root {first}")
                return
            self.roots.add(job, first, roots.n, roots)
            job.total += roots.n
            self._queue(job)
            if self.roots.crowded(job):
                job.held_acks.append((identity, ref))
            else:
                self._ok(identity, ref, {"fed": len(job.chunks)})
        self._settle(now)

    def close_feed(self, identity: bytes, message: dict[str, Any], now: float) -> None:
        """All roots of a streamed job are here."""
        ref = message["ref"]
        job = self.jobs.get(message["job"])
        if job is None or not job.stream:
            self._error(identity, ref, "UsageError", "no such streamed job")
        elif message["chunks"] > len(job.chunks):
            return  # a chunk got lost; the client says it again, and this too
        elif message["chunks"] < len(job.chunks) or message["total"] != job.total:
            self._error(
                identity, ref, "UsageError", f"{len(job.chunks)} chunks with {job.total} roots are here"
            )
        else:
            if not job.closed:
                job.closed = True
                self._record(job)
                self._queue(job)
            self._ok(identity, ref, {"fed": len(job.chunks)})
        self._settle(now)

    def attach(self, identity: bytes, message: dict[str, Any]) -> None:
        """Where are a job's results?"""
        job = self.jobs.get(message["job"])
        if job is None:
            self._error(
                identity, message["ref"], "UsageError", "no such job, or its results are not kept any more"
            )
        else:
            self._ok(identity, message["ref"], self._whereabouts(job))

    def _whereabouts(self, job: Job) -> dict[str, Any]:
        self._readers += 1
        value: dict[str, Any] = {
            "fed": len(job.chunks),
            "token": self._readers,
            "state": job.state,
            "epoch": job.epoch,
            "error": job.error,
            "kind": job.error_kind,
            "waiting": job.waiting,
            "sink": b"",
            "results": (),
        }
        if job.stamp is not None:
            sinks = {member.incarnation: member for member in self.membership.sinks()}
            sink = sinks.get(job.stamp.sink)
            if sink is not None:
                value.update(sink=sink.incarnation, results=sink.results)
            elif job.state == "done" and job.stamp.spool not in self.lost_sinks:
                value.update(
                    state="failed", kind="ResultsLost", error="the sink that had the results is gone"
                )
        return value

    def cancel(self, identity: bytes, message: dict[str, Any], now: float) -> None:
        """End a job now."""
        job = self.jobs.get(message["job"])
        if job is None:
            self._error(identity, message["ref"], "UsageError", "no such job")
            return
        if job.state not in ENDED:
            self._end(job, "cancelled", "JobCancelled", "cancelled by a client", now)
        self._ok(identity, message["ref"], {"state": job.state})
        self._settle(now)

    def release(self, identity: bytes, message: dict[str, Any], now: float) -> None:
        """Nobody wants this job's results any more."""
        job = self.jobs.get(message["job"])
        if job is not None and job.state in ENDED:
            self._prune(job)
        elif job is not None:
            self._end(job, "cancelled", "JobCancelled", "its client let go of it", now)
            self._prune(job)
        self._ok(identity, message["ref"], {})
        self._settle(now)

    def complete(self, identity: bytes, message: dict[str, Any], now: float) -> None:
        """A sink has all of a job."""
        job = self.jobs.get(message["job"])
        if job is None or job.state in ENDED:
            self.effects.append(Confirm(identity, {"type": "confirmed", "job": message["job"]}))
            return
        stamp = job.stamp
        if stamp is None or job.state != "running" or message["epoch"] != job.epoch:
            return
        if message["incarnation"] != stamp.sink:
            return
        job.results, job.failed = message["results"], message["failed"]
        if job.failed and job.retries_left:
            job.retries += 1
            job.incidents.append(f"{job.failed} tasks failed: retry {job.retries}")
            self._wait_again(job)
            self._settle(now)
            return
        self._end(job, "done", None, None, now)
        self.effects.append(Confirm(identity, {"type": "confirmed", "job": job.id}))
        self._settle(now)

    def job_failed(self, message: dict[str, Any], now: float) -> None:
        """A sequencer saw what cannot be mended."""
        job = self.jobs.get(message["job"])
        if job is not None and job.state == "running" and message["epoch"] == job.epoch:
            self._end(job, "failed", message["kind"], message["error"], now)
        self._settle(now)

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
        self._record(job)
        self.effects.append(Record("drop_chunks", (job.id,)))
        for member in self.membership.members():
            if member.pipeline == job.pipeline or (member.role == "sink" and state != "done"):
                self.effects.append(Control({"type": "forget", "jobs": [job.id]}, member.incarnation))
        if state != "done":  # their nodes end what does not stop by itself
            for node in self.membership.nodes(job.pipeline):
                self.effects.append(Control({"type": "forget", "jobs": [job.id]}, node))

    def _prune(self, job: Job) -> None:
        if job.stamp is not None:
            self.effects.append(Control({"type": "forget", "jobs": [job.id]}, job.stamp.sink))
        self.effects.append(Record("drop_job", (job.id,)))
        del self.jobs[job.id]

    def _move(self, job: Job, state: str) -> None:
        check_transition(job.state, state)
        job.state = state

    def _record(self, job: Job) -> None:
        self.effects.append(Record("put_job", (job,)))

    def _ok(self, identity: bytes, ref: int, value: Any) -> None:
        self.effects.append(Confirm(identity, {"type": "ok", "ref": ref, "value": value}))

    def _error(self, identity: bytes, ref: int, kind: str, text: str) -> None:
        self.effects.append(Confirm(identity, {"type": "error", "ref": ref, "kind": kind, "message": text}))

    # -- placement and dispatch ---------------------------------------------------------------
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

    def _unplace(self, job: Job) -> None:
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
        if job.state == "running" and not job.recovering:
            pipeline = self.pipelines[job.pipeline]
            pipeline.queue.add(job.id, job.client, job.options.get("priority", 0))

    def _place(self, job: Job, pipeline: PipelineInfo) -> None:
        workers = [self.membership.members(pipeline.name, index) for index in range(len(pipeline.stages))]
        stages = [
            StageInfo(name, here[0].ordered if here else None)
            for name, here in zip(pipeline.stages, workers, strict=True)
        ]
        sinks = self.membership.sinks()
        placed = self.placement.place(pipeline.name, stages, workers, sinks, self.draining)
        if not isinstance(placed, Placed):
            job.waiting = placed
            for index, here in enumerate(workers):
                if not here and index in pipeline.problems:
                    problem = pipeline.problems[index]
                    job.waiting = f"{placed}: it does not start: {problem}"
                    break
            return
        job.placed, job.waiting = placed, None
        job.epoch += 1
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
        )
        self._record(job)
        self.outlet.stamp(job.stamp)
        self._queue(job)
        if job.epoch > 1:
            for member in self.membership.members():
                if member.role == "sink" or member.pipeline == job.pipeline:
                    self.effects.append(Control({"type": "stamp", "stamp": job.stamp}, member.incarnation))

    def _hold(self, job: Job, placed: Placed, workers: list[list[Member]]) -> str:
        """What its sink keeps back, because another epoch may give something else."""
        wild = any(not member.deterministic for here in workers for member in here)
        if wild and placed.ordered:
            return "all"
        return "failures" if job.retries_left else ""

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

    # -- data, time ---------------------------------------------------------------------------
    def data(self, message: DataMessage, now: float) -> None:
        """A first stage's word on what it got."""
        if type(message) is Statement:
            self.outlet.statement(message, now)
        else:
            self.bad += 1
        self._settle(now)

    def _adopt_orphans(self) -> None:
        """Roots that a worker held since before this broker was started, and has lost or given back."""
        for parcel in self.outlet.orphans:
            job = self.jobs.get(parcel.batch.job)
            if job is not None and job.epoch == parcel.batch.epoch and not job.recovering:
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
                self.effects.append(Control({"type": "view", "view": view}, member.incarnation))
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

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times = [
            self.membership.deadline(),
            self.outlet.deadline(),
            self.recovery.deadline(),
            self.lost_sinks.deadline(),
            self.complaints.deadline(),
            min((job.deadline for job in self.jobs.values() if job.deadline is not None), default=None),
            min(self.feeders.values(), default=float("inf")) + self.feed_timeout,
        ]
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Time has passed."""
        expired = self.membership.expire(now)
        if expired:
            self._lost(expired, now)
        self._give_up_sinks(now)
        for peer in self.outlet.complaints(now):
            self.complaints.add(self.me, peer, now)
        worst = self.complaints.due(lambda inc: now if inc == self.me else self.membership.heard(inc), now)
        fenced = self.membership.remove(worst) if worst is not None else None
        if fenced is not None:
            self._lost([fenced], now)
        self._time_out(now)
        while self._ended and now - self._ended[0][0] > self.keep:
            job = self.jobs.get(self._ended.popleft()[1])
            if job is not None:
                self._prune(job)
        self.outlet.tick(now)
        self._settle(now)

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

    # -- questions ----------------------------------------------------------------------------
    def describe(self, identity: bytes, message: dict[str, Any]) -> None:
        """What ``zturbo jobs`` shows."""
        wanted = message["job"]
        jobs = [self.status(job) for job in self.jobs.values() if wanted is None or job.id == wanted]
        pipelines = []
        for pipeline in self.pipelines.values():
            counts = [len(self.membership.members(pipeline.name, i)) for i in range(len(pipeline.stages))]
            problems = {pipeline.stages[i]: text for i, text in pipeline.problems.items()}
            pipelines.append(
                {"name": pipeline.name, "stages": pipeline.stages, "workers": counts, "problems": problems}
            )
        value = {"jobs": jobs, "pipelines": pipelines, "trouble": self.trouble.get(self.me)}
        self.effects.append(Control({"type": "ok", "ref": message["ref"], "value": value}, identity))

    def status(self, job: Job) -> dict[str, Any]:
        """One job's status."""
        pipeline = self.pipelines.get(job.pipeline)
        stages = pipeline.stages if pipeline is not None else []
        done = [0] * len(stages)
        for member in self.membership.members(job.pipeline):
            if 0 <= member.stage < len(stages):
                done[member.stage] += self.progress.get(member.incarnation, {}).get(job.id, 0)
        results = job.results
        if job.state == "running" and job.stamp is not None:
            results = self.progress.get(job.stamp.sink, {}).get(job.id, 0)
        return {
            "id": job.id,
            "name": job.name,
            "pipeline": job.pipeline,
            "state": job.state,
            "waiting": self._waits_for(job),
            "incidents": list(job.incidents),
            "epoch": job.epoch,
            "total": job.total if job.closed else None,
            "fed": job.total,
            "stages": stages,
            "done": done,
            "results": results,
            "failed": job.failed,
            "error": job.error,
            "created": job.created,
        }

    def _waits_for(self, job: Job) -> str | None:
        """Why it does not go on just now, if there is a reason."""
        if (trouble := self.trouble.get(self.me)) and job.state not in ENDED:
            return trouble
        if job.state != "running" or job.stamp is None:
            return job.waiting
        if job.stamp.spool in self.lost_sinks:
            return "its sink to come back"
        if trouble := self.trouble.get(job.stamp.sink):
            return f"its sink: {trouble}"
        if job.recovering:
            return "its workers' reports, after the broker's restart"
        if job.backlog and job.paused_until > self._now:
            return "its results to be read: it has its share of the sink's spool"
        return None

    def note_progress(self, incarnation: bytes, counts: dict[Any, Any]) -> None:
        """A member's counts of tasks per job."""
        if incarnation in self.membership:
            self.progress[incarnation] = {
                job: n for job, n in counts.items() if type(job) is bytes and type(n) is int
            }

    def check(self) -> None:
        """Assert every invariant."""
        self.outlet.check()
        self.membership.check()
        assert self.roots.cached == sum(b.nbytes for job in self.jobs.values() for b in job.cache.values())


def _check_options(options: dict[Any, Any]) -> str | None:
    known: dict[str, tuple[type, ...]] = {
        "durability": (str,),
        "order": (str,),
        "priority": (int,),
        "timeout": (float, int),
        "max_retry": (int,),
    }
    for key, value in options.items():
        if key not in known:
            return f"unknown job option {key!r}; there are: {', '.join(sorted(known))}"
        if type(value) not in known[key]:
            return f"job option {key!r} is to be of type {known[key][0].__name__}"
    if options.get("timeout", 1) <= 0:
        return "job option 'timeout' is to be seconds, more than 0"
    if options.get("max_retry", 0) < 0:
        return "job option 'max_retry' is to be 0 or more"
    if options.get("max_retry") and options.get("order") == "none":
        return "job option 'max_retry' needs an order: without one, failures are given out as they come"
    if options.get("durability", "fsync") not in ("fsync", "process", "memory"):
        return "job option 'durability' is to be 'fsync', 'process' or 'memory'"
    if options.get("order", "path") not in ("path", "none"):
        return "job option 'order' is to be 'path' or 'none'"
    return None
