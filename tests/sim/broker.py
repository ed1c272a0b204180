"""The broker in a simulated world: its machine, and a ledger that keeps what was committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zturbo.core.effects import Confirm, Control, Effect, Load, Record, Reply, Send
from zturbo.jobstates import ENDED
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import from_broker
from zturbo.wire.control.codec import pack_control, read_request
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Batch
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.strikes import Death
from zturbo_broker.ledger.rows import JobRow, job_of, row_of
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine

if TYPE_CHECKING:
    from tests.sim.world import World

__all__ = ["BROKER", "Ledger", "SimBroker"]

BROKER = b"broker----------"
"""The control address; the broker's incarnation is another at each start."""


@dataclass
class Ledger:
    """What was committed, and what is to be."""

    view: int = 0
    members: list[Member] = field(default_factory=list)
    jobs: dict[bytes, JobRow] = field(default_factory=dict)
    chunks: dict[tuple[bytes, int], tuple[int, int, Batch]] = field(default_factory=dict)
    queue: list[Record] = field(default_factory=list)
    """Not committed yet; jobs as their rows."""
    full_until = 0.0
    """Until then its disk has no room."""

    def record(self, effect: Record) -> None:
        """One write, as of now. Durable at ``commit``."""
        if effect.op in ("put_job", "note_job"):
            effect = Record("put_job", (row_of(effect.args[0]),))
        self.queue.append(effect)

    def commit(self) -> None:
        """Make everything queued durable."""
        for effect in self.queue:
            self._apply(effect)
        self.queue.clear()

    def _apply(self, effect: Record) -> None:
        args = effect.args
        if effect.op == "put_job":
            self.jobs[args[0].id] = args[0]
        elif effect.op == "put_chunk":
            job, seq, first, n, roots = args
            self.chunks[(job, seq)] = (first, n, roots)
        elif effect.op == "trim_chunks":
            for key in [key for key in self.chunks if key[0] == args[0] and key[1] < args[1]]:
                del self.chunks[key]
        elif effect.op in ("drop_chunks", "drop_job"):
            for key in [key for key in self.chunks if key[0] == args[0]]:
                del self.chunks[key]
            if effect.op == "drop_job":
                self.jobs.pop(args[0], None)
        elif effect.op == "set_members":
            self.view, members = args
            self.members = list(members)

    def index(self, job: bytes) -> list[tuple[int, int, int, int]]:
        """(seq, first root, roots, bytes) of a job's chunks."""
        rows = sorted((seq, *rest) for (name, seq), rest in self.chunks.items() if name == job)
        return [(seq, first, n, roots.nbytes) for seq, first, n, roots in rows]

    def find(self, *jobs: bytes) -> Job | None:
        """The first of these jobs that there is, as it was committed."""
        row = next((self.jobs[job] for job in jobs if job in self.jobs), None)
        return None if row is None else job_of(row, self.index(row.id))

    def ended(self, before: int | None, most: int) -> list[Job]:
        """Jobs that have ended, the last one first."""
        rows = sorted(self.jobs.values(), key=lambda row: -row.number)
        over = [row for row in rows if row.state in ENDED and (before is None or row.number < before)]
        return [job_of(row, []) for row in over[:most]]


class SimBroker:
    """One life of the broker."""

    def __init__(self, world: World, ledger: Ledger, pipelines: list[PipelineInfo]) -> None:
        self.world = world
        self.ledger = ledger
        self.alive = True
        self.reading = False
        """Whether a round is going on."""
        self.shift = 0.0
        self.due: float | None = 0.0
        """When its machine wants a tick."""
        self.doomed = ""
        """``before`` or ``after``: it dies around its next commit."""
        self.deferred: list[Effect] = []
        """What waits for the ledger's disk."""
        self.me = world.fresh()
        member = Member(self.me, "broker", "", -1, "host", ("ipc://sim", "tcp://10.0.0.1:1"))
        self.machine = BrokerMachine(
            member,
            pipelines,
            view=ledger.view + 1,
            lease=5.0,
            feed_timeout=60.0,
            grace=10.0,
            archive=ledger,
        )
        ledger.view += 1
        world.net.receivers[BROKER] = world.net.receivers[self.me] = self.receive
        world.net.where[self.me] = member.host
        world.actors[self.me] = self
        world.tick_after(world.now)
        jobs = [job_of(row, ledger.index(row.id)) for row in ledger.jobs.values()]
        self.machine.restore(list(ledger.members), jobs, world.now)
        self.perform()

    def jobs(self) -> dict[bytes, Job]:
        """All jobs: those in memory, and those that only the ledger has."""
        rows = {name: row for name, row in self.ledger.jobs.items() if name not in self.machine.jobs}
        return {**self.machine.jobs, **{name: job_of(row, []) for name, row in rows.items()}}

    def receive(self, source: bytes, frames: list[bytes]) -> None:
        """A message, to the control socket or to the inbox."""
        if not self.alive:
            return
        if frames[0][:1] == b"\x01":
            self.machine.data(decode([frames[0][1:], *frames[1:]]), self.world.now)
        else:
            self.machine.control(source, read_request([frames[0][1:], *frames[1:]]), self.world.now)
        self.world.round(self)

    def perform(self) -> None:
        """Write, commit, send: in this order."""
        self.world.touch(self)
        rounds = self.machine.rounds
        while (self.machine.effects or self.deferred or rounds.due) and self.alive:
            rounds.end(self.world.now)
            effects: list[Effect] = list(self.machine.effects)
            self.machine.effects.clear()
            self.deferred.extend(effects)
            for effect in effects:
                if isinstance(effect, Record):
                    self.ledger.record(effect)
            if self.ledger.queue and not self._commit():
                return
            effects, self.deferred = self.deferred, []
            for effect in effects:
                if isinstance(effect, Send):
                    self.world.data(self.me, effect.peer, encode(effect.message))
                elif isinstance(effect, (Control, Confirm, Reply)):
                    if not isinstance(
                        effect.message, from_broker.SayHello
                    ):  # members here say it each second
                        self.world.control(BROKER, effect.to, pack_control(effect.message))
                elif isinstance(effect, Load):
                    _, _, roots = self.ledger.chunks[(effect.job, effect.seq)]
                    self.world.later(
                        0.001,
                        lambda e=effect, r=roots: self._loaded(e, r),  # type: ignore[misc]
                    )

    def _commit(self) -> bool:
        """Whether the ledger has everything; a full disk is waited for, and questions are answered."""
        doomed = self.doomed
        if doomed == "before":
            self.die()
            return False
        if self.world.now < self.ledger.full_until:
            for effect in [effect for effect in self.deferred if isinstance(effect, Reply)]:
                self.deferred.remove(effect)
                self.world.control(BROKER, effect.to, pack_control(effect.message))
            self.world.clock.at(self.ledger.full_until, self._room)
            return False
        self.ledger.commit()
        self.machine.recorded()
        if doomed == "after":
            self.die()
        return self.alive

    def _room(self) -> None:
        if self.alive:
            self.perform()

    def _loaded(self, effect: Load, roots: Batch) -> None:
        if self.alive:
            self.machine.loaded(effect.job, effect.seq, roots, self.world.now)
            self.perform()

    def tick(self) -> None:
        """Time has passed."""
        self.machine.tick(self.world.now)
        self.perform()

    def lost(self, incarnation: bytes, death: Death | None) -> None:
        """A node's report."""
        self.machine.gone(incarnation, self.world.now, death)
        self.perform()

    def die(self) -> None:
        """Everything but what the ledger has committed is gone."""
        self.alive = False
        self.ledger.queue.clear()
        self.world.broker_died(self)
