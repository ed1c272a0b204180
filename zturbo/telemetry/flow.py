"""What members have measured, merged by stage: shares of time, rates, times per task, what waits.

Everything here is of the last seconds, of which a member's two reports tell. A member makes no report while
nothing changes: so it has been idle since its last one, unless a task runs in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from zturbo.slotted import field, slotted
from zturbo.telemetry.histogram import added, quantile, subtracted

__all__ = ["HostFlow", "PipelineFlow", "Shares", "StageFlow", "WorkerFlow", "by_host", "by_pipeline"]

IDLE_AFTER = 2.5
"""Seconds without a report after which a member counts as idle, or as running a task without a word."""

Shares = tuple[float, float, float, float]
"""Parts of the time, 0 to 1: the stage's code, waiting for input, held back by what follows, zturbo."""

NOTHING: Shares = (0.0, 0.0, 0.0, 0.0)


@slotted
class WorkerFlow:
    """One member."""

    incarnation: str
    name: str
    """``video.detect``, or ``sink``."""
    host: str
    pid: int
    age: float
    """Seconds since its last report."""
    shares: Shares = NOTHING
    rate: float = 0.0
    """Tasks a second."""
    given: float = 0.0
    """Outputs a second."""
    busy: bool = False
    """Whether a task runs in it now."""
    waiting: int = 0
    running: int = 0
    pending: int = 0
    cpu: float = 0.0
    """CPUs that it uses: 1.0 is one core."""
    memory: int = 0
    shared: int = 0
    """Bytes of shared memory that it has taken, a part of its memory."""
    received: float = 0.0
    """Bytes a second that its host receives, without loopback."""
    sent: float = 0.0
    """Bytes a second that its host sends, without loopback."""
    cores: int = 0
    times: tuple[int, ...] = ()
    """Times per task lately, as a histogram; all since its start if it was idle lately."""
    tasks: int = 0
    """Since its start."""
    failed: int = 0
    """Since its start."""


@slotted
class StageFlow:
    """The workers of one stage."""

    name: str
    wanted: int = 0
    """Workers that nodes are to keep running."""
    ordered: bool = False
    waiting: int = 0
    """Tasks in front of it: in its workers, and at those before it that have no credit for them."""
    workers: list[WorkerFlow] = field(default_factory=list)

    @property
    def memory(self) -> int:
        """Bytes that the workers take together."""
        return sum(worker.memory for worker in self.workers)

    @property
    def starting(self) -> int:
        """Workers that are to run and have not joined."""
        return max(0, self.wanted - len(self.workers))

    @property
    def busy(self) -> int:
        """Workers in which a task runs."""
        return sum(worker.busy for worker in self.workers)

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return sum(worker.rate for worker in self.workers)

    @property
    def given(self) -> float:
        """Outputs a second."""
        return sum(worker.given for worker in self.workers)

    @property
    def shares(self) -> Shares:
        """The mean over its workers."""
        n = len(self.workers) or 1
        code, waited, held, own = (
            (sum(part) / n for part in zip(*(w.shares for w in self.workers), strict=True))
            if self.workers
            else NOTHING
        )
        return code, waited, held, own

    @property
    def load(self) -> float:
        """Part of their time, 0 to 1, in which its workers work: the code's, and zturbo's own."""
        code, _, _, own = self.shares
        return code + own

    @property
    def hosts(self) -> set[str]:
        """Where its workers are."""
        return {worker.host for worker in self.workers}

    def quantile(self, share: float) -> float | None:
        """The time that this share of its tasks does not exceed, in seconds; None if there was no task."""
        counts: Sequence[int] = ()
        for worker in self.workers:
            counts = added(counts, worker.times)
        return quantile(counts, share)

    def as_map(self) -> dict[str, Any]:
        """For programs."""
        code, waited, held, own = (round(share, 4) for share in self.shares)
        return {
            "stage": self.name,
            "workers": len(self.workers),
            "busy": self.busy,
            "idle": len(self.workers) - self.busy,
            "starting": self.starting,
            "wanted": self.wanted,
            "ordered": self.ordered,
            "waiting": self.waiting,
            "rate": round(self.rate, 3),
            "given": round(self.given, 3),
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "shares": {"code": code, "input": waited, "held": held, "own": own},
            "memory": self.memory,
            "shared": sum(worker.shared for worker in self.workers),
            "cpu": round(sum(worker.cpu for worker in self.workers), 3),
        }


@slotted
class PipelineFlow:
    """A pipeline: its stages in order, then the sinks."""

    name: str
    stages: list[StageFlow]
    unread: int = 0
    """Results at the sinks that no client has taken."""


@slotted
class HostFlow:
    """The processes of one host, beside the broker and nodes."""

    name: str
    cores: int = 0
    cpu: float = 0.0
    """CPUs that they use together."""
    memory: int = 0
    shared: int = 0
    """Bytes of shared memory that they have taken, a part of their memory."""
    received: float = 0.0
    """Bytes a second that the host receives, zturbo's and all others, without loopback."""
    sent: float = 0.0
    """Bytes a second that the host sends, as above."""
    processes: int = 0
    gpus: list[dict[str, Any]] = field(default_factory=list)
    """Its GPUs, as :meth:`zturbo.Client.hosts` gives them."""

    @property
    def full(self) -> bool:
        """Whether they use nearly all CPUs."""
        return bool(self.cores) and self.cpu > 0.85 * self.cores


def worker_of(member: dict[str, Any]) -> WorkerFlow:
    """A member, from its map in :meth:`zturbo.Client.telemetry`."""
    flow = WorkerFlow(
        member["incarnation"], member["name"], member["host"], member["pid"], round(member["age"], 3)
    )
    latest, before = member["latest"], member["before"]
    if latest is None:
        return flow
    flow.waiting, flow.running, flow.pending = latest["waiting"], latest["running"], latest["pending"]
    flow.memory, flow.shared, flow.cores = latest["memory"], latest["shared"], latest["cores"]
    flow.tasks, flow.failed, flow.times = latest["tasks"], latest["failed"], latest["times"]
    flow.busy = latest["running"] > 0
    if member["age"] > IDLE_AFTER:
        flow.shares = (1.0, 0.0, 0.0, 0.0) if flow.busy else (0.0, 1.0, 0.0, 0.0)
        return flow
    if before is None:
        return flow
    seconds = max(1, latest["clock"] - before["clock"]) / 1e6
    parts = [max(0, latest[part] - before[part]) for part in ("code", "input", "held", "own")]
    if total := sum(parts):
        code, waited, held, own = (part / total for part in parts)
        flow.shares = code, waited, held, own
    flow.rate = max(0, latest["tasks"] - before["tasks"]) / seconds
    flow.given = max(0, latest["outputs"] - before["outputs"]) / seconds
    flow.cpu = max(0, latest["cpu"] - before["cpu"]) / 1e6 / seconds
    if before["received"]:
        flow.received = max(0, latest["received"] - before["received"]) / seconds
        flow.sent = max(0, latest["sent"] - before["sent"]) / seconds
    times = subtracted(latest["times"], before["times"])
    if any(times):
        flow.times = times
    return flow


def by_pipeline(telemetry: dict[str, Any]) -> list[PipelineFlow]:
    """The pipelines, from what :meth:`zturbo.Client.telemetry` gives."""
    flows = [(member, worker_of(member)) for member in telemetry["members"]]
    sinks = [flow for member, flow in flows if member["stage"] < 0]
    out = []
    for load in telemetry["pipelines"]:
        name = load["name"]
        stages = [
            StageFlow(stage, wanted) for stage, wanted in zip(load["stages"], load["wanted"], strict=True)
        ]
        for member, flow in flows:
            if member["pipeline"] == name and 0 <= member["stage"] < len(stages):
                stage = stages[member["stage"]]
                stage.workers.append(flow)
                stage.ordered |= member["ordered"]
        ahead = load["backlog"]
        for stage in stages:
            stage.waiting = ahead + sum(worker.waiting for worker in stage.workers)
            ahead = sum(worker.pending for worker in stage.workers)
        out.append(PipelineFlow(name, stages, sum(sink.pending for sink in sinks)))
    return out


def by_host(telemetry: dict[str, Any]) -> list[HostFlow]:
    """The hosts, in the order in which their first members joined."""
    out: dict[str, HostFlow] = {}
    for flow in _workers(telemetry["members"]):
        host = out.setdefault(flow.host, HostFlow(flow.host))
        host.cores = max(host.cores, flow.cores)
        host.cpu += flow.cpu
        host.memory += flow.memory
        host.shared += flow.shared
        host.received = max(host.received, flow.received)  # each of its processes tells of all of it
        host.sent = max(host.sent, flow.sent)
        host.processes += 1
    for name, gpus in telemetry.get("gpus", {}).items():
        if name in out:
            out[name].gpus = gpus
    return list(out.values())


def _workers(members: Iterable[dict[str, Any]]) -> Iterable[WorkerFlow]:
    return map(worker_of, members)
