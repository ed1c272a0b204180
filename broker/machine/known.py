"""Facts that all parts of the broker's machine use, and the broker's answers."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from zturbo.core.effects import Confirm, Effect, Record, Reply
from zturbo.slotted import field, slotted
from zturbo.wire.control import from_broker
from zturbo.wire.control.view import Member
from zturbo_broker.jobs.codes import Codes, code_gone
from zturbo_broker.jobs.counts import Counts
from zturbo_broker.jobs.fair_queue import FairQueue
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.table import Archive, JobTable
from zturbo_broker.members.gpus import HostGpus
from zturbo_broker.members.leases import UNKNOWN, Membership
from zturbo_broker.members.problems import Problems
from zturbo_broker.members.rights import Rights, User
from zturbo_broker.members.views import Views

__all__ = ["Answers", "Known", "PipelineInfo"]


@slotted
class PipelineInfo:
    """A pipeline as the network file has it."""

    name: str
    stages: list[str]
    durability: str = "fsync"
    order: str = "path"
    logs: bool = False
    max_task_bytes: int = 256 << 20
    code: str = "job"
    """What is done when workers of a stage have different code: one of :data:`MODES`."""
    max_task_retries: int = 3
    """Deaths of workers after which the task that was running each time is condemned."""
    queue: FairQueue = field(default_factory=FairQueue)
    """Running jobs that have roots to send."""
    waiting: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    """Jobs that are not placed, in the order in which they began to wait."""


class Answers:
    """Answers to clients and nodes.

    Args:
        effects: to which the answers are appended.
    """

    def __init__(self, effects: list[Effect]) -> None:
        self._effects = effects

    def ok(self, identity: bytes, ref: int, value: Any) -> None:
        """An answer that is sent once the ledger has all records that were made before."""
        self._effects.append(Confirm(identity, from_broker.Ok(ref=ref, value=value)))

    def error(self, identity: bytes, ref: int, kind: str, text: str) -> None:
        """A refusal that is sent once the ledger has all records that were made before."""
        self._effects.append(Confirm(identity, from_broker.Error(ref=ref, kind=kind, message=text)))

    def now(self, identity: bytes, ref: int, value: Any) -> None:
        """An answer that depends on no record: it is sent even while the ledger's disk is full."""
        self._effects.append(Reply(identity, from_broker.Ok(ref=ref, value=value)))


class Known:
    """The facts.

    Args:
        member: the broker's own record in the view.
        pipelines: the pipelines that the broker serves.
        view: number of the view to begin with.
        lease: seconds that a member lives without being renewed.
        version: of zturbo; members of another version are refused.
        cluster: id of the ledger, for clients.
        archive: the jobs that the ledger has.
    """

    def __init__(
        self,
        member: Member,
        pipelines: list[PipelineInfo],
        *,
        view: int,
        lease: float,
        version: str,
        cluster: bytes,
        archive: Archive,
    ) -> None:
        self.me = member.incarnation
        self.version = version
        self.room = 1 << 30
        """Members that this broker has descriptors for."""
        self.pid = 0
        """Process id of this broker."""
        self.about = UNKNOWN
        """What this broker tells of itself."""
        self.clock = 0.0
        """Its host's wall time, when it was last asked."""
        self.cluster = cluster
        self.effects: list[Effect] = []
        self.say = Answers(self.effects)
        self.pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self.membership = Membership(member, number=view, lease=lease)
        self.gpus = HostGpus(2 * lease)
        self.views = Views(self.membership)
        self.table = JobTable(archive)
        self.jobs = self.table.here
        self.counts = Counts()
        self.problems = Problems()
        self.codes = Codes()
        self.open = False
        """Whether other hosts reach this broker, and no keys keep strangers out."""
        self.rights = Rights(self.membership, lambda job: self.table.locate(job)[0])
        self.user: User | None = None
        """Whose key the message that is being handled came under; None without keys."""
        self.trouble: dict[bytes, str] = {}
        """Member -> why it cannot go on, such as a full disk."""

    def name_of(self, member: Member) -> str:
        """A member's name for people: its stage, or its role."""
        pipeline = self.pipelines.get(member.pipeline)
        if pipeline is not None and 0 <= member.stage < len(pipeline.stages):
            return f"{member.pipeline}.{pipeline.stages[member.stage]}"
        return member.role

    def refused_for_good(self, pipeline: str, stage: int, text: str, now: float) -> None:
        """Tell in the status why a process of this stage (``""`` and -1: a sink) is not started again. If the
        stage has no other, that is told until one has joined."""
        others = self.membership.count(pipeline, stage) > 0
        self.problems.given_up(pipeline, stage, text, now, others=others)

    def code_gone(self, job: Job) -> int | None:
        """A stage that has workers, and none with the code with which a job began; None if it has."""
        codes = {} if job.stamp is None else job.stamp.codes
        return code_gone(codes, partial(self.membership.members, job.pipeline)) if codes else None

    def members_changed(self) -> None:
        """A member has joined or left: write the members to the ledger, those of a large view once for all
        changes that are sent together. No member acts on a change before that."""
        self.views.recorded = False
        if not self.views.large:
            self.record_members()

    def record_members(self) -> None:
        """Write the present members to the ledger, if it does not have them."""
        if self.views.recorded:
            return
        self.views.recorded = True
        members = self.membership.members()
        self.effects.append(Record("set_members", (self.membership.number, members)))
