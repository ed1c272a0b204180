"""A simulated world: the real machines of all roles on a virtual clock and a lying network.

Everything that is decided comes from the product; only sockets, clocks, threads and disks are played.
The user's code runs through the product's own runner. Each world is made by its seed alone: its pipeline,
its jobs, and its faults.
"""

from __future__ import annotations

import random
import time
import traceback
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.sim.broker import BROKER, Ledger, SimBroker
from tests.sim.checks import (
    check_counts,
    check_credit,
    check_ended_roots,
    check_executions,
    check_reach,
    check_rest,
    check_results,
)
from tests.sim.client import SimClient
from tests.sim.disk import Disk
from tests.sim.members import SimMember, SimSink, SimWorker
from tests.sim.network import Clock, Faults, Network
from tests.sim.oracle import Oracle
from tests.sim.stages import ORDERS, PIPELINES, Flaky, Half, Last, Placed, Shares, Sticky, Sum, Wild
from zturbo import Stage
from zturbo.core.links.choice import FANOUT
from zturbo.runtime.code import output, production
from zturbo.wire.carried import carried_id, place_of
from zturbo_broker.jobs.strikes import Death, Running
from zturbo_broker.machine.known import PipelineInfo

__all__ = ["FAULTS", "TooLong", "World"]

FAULTS = (
    "worker",
    "worker",
    "stage",
    "sink",
    "sink-host",
    "sink-gone",
    "broker",
    "broker-before",
    "broker-after",
    "broker-first",
    "zombie",
    "stop",
    "cut",
    "cut-long",
    "drain",
    "disk",
    "cancel",
)
"""What may happen to a world, beside what its network does."""

WALLS = ("wall", "wall-new")
"""Firewalls that come up: in front of a member, or of a newcomer. They are no part of :data:`FAULTS`, so that
worlds without one stay what they were."""

WALL = 12.0
"""Seconds that a firewall stays."""

ROUND = 0.003
"""Seconds that a process reads messages before it acts, at most."""
STUCK_AFTER = 60.0
"""Seconds without progress after which a world has come to a stand-still."""
LULL = 9.0
"""Seconds after which most jobs are done, and an idle link may break."""
LONGEST = 1000.0
"""Seconds that no world takes, even if everything in it is slow."""
TICKS = [*accumulate([0.005] * 200_001, initial=0.0)]
"""When there may be a tick."""
MOST_STEPS = 20_000
"""Events that no second has: up to 200 are ticks, and the busiest of 250 worlds had 4,296. Who talks
without an end shows here, however long a world may take."""


class TooLong(Exception):
    """A world has taken more steps than it was given."""


class World:
    """One world.

    Args:
        seed: everything random comes of it.
        faults: whether messages get lost and processes die.
        only: choose faults from these alone.
        within: choose the pipeline from these alone; empty for any.
    """

    def __init__(
        self,
        seed: int,
        *,
        faults: bool = True,
        only: tuple[str, ...] = FAULTS,
        within: tuple[str, ...] = (),
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        rng = self.rng
        Wild.chance = random.Random(seed)
        Flaky.chance = random.Random(seed)
        Flaky.settled = set()
        self.steps = 0
        self._shared = random.Random(seed)
        """Whether the ledger is on the disk that fills up: not of the world's own numbers either."""
        self._perf = 0.0
        self._perf_rng = random.Random(seed)
        self.clock = Clock()
        self.more = random.Random(f"more {seed}")
        """For what came later: not of the world's own numbers, so that a world stays what it was."""
        self.rounds = random.Random(f"rounds {seed}")
        """For rounds alone, in half of the worlds: there, processes read more than one message at a time."""
        self.by_rounds = self.rounds.random() < 0.5
        two = self.more.random() < 0.3
        self._links = random.Random(f"links {seed}")
        """For firewalls alone."""
        walled = faults and (self._links.random() < 0.1 or not {*only}.isdisjoint(WALLS))
        self.hosts = ("host", "far", "further") if walled else ("host", "far") if two else ("host",)
        self.shifts = {"host": 0.0, "far": self.more.choice([-4096.0, 1024.0]), "further": 7.0}
        """Host -> how far its monotonic clock is from the world's."""
        self._wall = self.more.choice([1.7e9, 0.0, -1e6])
        """How far wall time is from the world's; it may be set meanwhile."""
        self.later(self.more.random() * 10.0, self._set_wall)
        self._neighbours = random.Random(f"neighbours {seed}")
        """For bounded numbers of links alone."""
        few = (self._neighbours.random() < 0.2 and {*only} == {*FAULTS}) or "few" in only
        self.fanout = self._neighbours.choice([1, 1, 2]) if few else FANOUT
        """Workers of the next stage to which a worker has links: in some worlds fewer than there are."""
        self.bounded = few and not within and random.Random(f"bounded {seed}").random() < 0.4
        """Whether it has no other links while tasks wait."""
        self.left_out: dict[tuple[bytes, bytes], float] = {}
        """(sender, worker) -> since when the worker has nothing to do, and the sender has tasks for it that
        wait."""
        self._idle = faults and ("idle" in only or self.more.random() < 0.1)
        kinds = [
            Faults(),
            Faults(drop=0.02, until=8.0),
            Faults(double=0.05, delay=0.05, until=8.0),
            Faults(drop=0.1, double=0.1, delay=0.03, until=8.0),
        ]
        self.net = Network(self.clock, rng, rng.choice(kinds) if faults else Faults())
        self.actors: dict[bytes, Any] = {}
        self._ticked, self._next_tick = -1, len(TICKS)
        self.touched: dict[Any, None] = {}
        """Actors whose machines may have another deadline since the last tick."""
        self.stepped: dict[Any, None] = {}
        """Those whose machines have done something in this step: their invariants are checked after it."""
        self._checked: dict[bytes, int] = {}
        """Job -> how many of the client's results were looked at."""
        self._ids = 0
        self.deaths = 0
        self.executions: Counter[tuple[bytes, int, int, tuple[int, ...]]] = Counter()
        self.given: defaultdict[tuple[bytes, int, int], list[int]] = defaultdict(lambda: [0, 0])
        """(job, epoch, stage) -> [outputs, drops and failures, failures alone] of all workers."""
        self.codes: defaultdict[tuple[bytes, int, int], set[str]] = defaultdict(set)
        """(job, epoch, stage) -> versions of the code that gave something."""
        self.lost_workers = 0
        self.killed: Counter[tuple[str, bytes, tuple[int, ...]]] = Counter()
        """(stage, job, path) -> deaths of whoever ran it."""
        self.cancelled: set[bytes] = set()
        self.void: set[bytes] = set()
        """Jobs whose results a power cut may have taken."""
        self.trouble_after_restart = False
        self.fenced = 0
        """Members that were taken out of the view, and left."""
        self.cut_short = False
        """Whether somebody had no time to finish what ran, or the next stage to take it, before he left."""
        self.slow = faults and rng.random() < 0.3
        self.pace = rng.choice([0.02, 0.02, 0.1, 0.3]) if faults else 0.02
        """Seconds that a piece of user's work takes at most."""
        # Not from the world's own numbers: so a world stays what it was when there are more pipelines.
        self.name = random.Random(seed).choice(sorted(within or PIPELINES))
        self.stages = PIPELINES[self.name]
        self.order = ORDERS.get(self.name, "path")
        self.travel = random.Random(f"travel {seed}")
        """For jobs that travel together."""
        self.asked: dict[bytes, dict[str, Any]] = {}
        """Job -> its options."""
        self._options = random.Random(f"options {seed}")
        """For options of jobs alone."""
        whole = faults and {*only} == {*FAULTS} and not within
        self._optional = (self._options.random() < 0.3 and whole) or "options" in only
        self.sips = "sips" in only or (whole and random.Random(f"sips {seed}").random() < 0.3)
        """Whether clients ask for a few results at a time, so that sinks hear soon what they have taken, and
        roots go early."""
        self.happened: list[str] = []
        self.versions = random.Random(f"versions {seed}")
        """For versions of the code alone."""
        edited = self.versions.random() < 0.3 and faults and not {Wild, Half} & {*self.stages}
        self.version = "v0" if edited else ""
        """The code of workers that start now."""
        self.code_mode = self.versions.choice(["restart", "restart", "any"])
        if edited:
            self.later(0.3 + self.versions.random() * 2.0, self._edit)
        self.ledger = Ledger()
        self.broker = self._start_broker()
        self.client = SimClient(self)
        self.disks: dict[bytes, Disk] = {}
        self.sinks: list[SimSink] = []
        for number in range(rng.choice([1, 1, 2])):
            spool = self.fresh()
            self.disks[spool] = Disk(rng.choice([0.01, 0.01, 0.5]) if faults else 0.01)
            self.sinks.append(SimSink(self, spool, f"sink-{number}"))
        self.workers = [
            SimWorker(self, self.name, index, self.stages)
            for index in range(len(self.stages))
            for _ in range(rng.choice([1, 2, 3]) + (self._neighbours.randrange(4) if few else 0))
        ]
        self.oracles: dict[bytes, Oracle] = {}
        for _ in range(rng.choice([1, 1, 2, 4])):
            self._job()
        if self.rounds.random() < 0.3:
            self._crowd(self.rounds.choice([8, 24]))
        if self._idle:
            self.later(LULL, self._break_idle)
        self._walls_to_come: list[tuple[str, int, list[type[Stage]]]] = []
        """Places of workers that are to be started behind a firewall."""
        self.newcomers: set[bytes] = set()
        """Those of them that had it from their start."""
        self.walled: set[bytes] = set()
        """Processes that have had a firewall before them."""
        if walled and {*only} == {*FAULTS}:
            what = self._links.choice(WALLS)
            self.happened.append(what)
            self.later(0.3 + self._links.random() * 4.0, lambda: self._happen(what))
        if faults:
            for _ in range(rng.choice([0, 1, 1, 2, 3])):
                what = rng.choice(only)
                self.happened.append(what)
                self.later(0.3 + rng.random() ** 2 * 4.0, lambda w=what: self._happen(w))  # type: ignore[misc]

    # -- for the actors -----------------------------------------------------------------------
    def touch(self, actor: Any) -> None:
        """It has done something."""
        self.touched[actor] = self.stepped[actor] = None
        self.tick_after(self.now)

    @property
    def now(self) -> float:
        """Virtual time."""
        return self.clock.now

    def fresh(self) -> bytes:
        """A new id."""
        self._ids += 1
        return b"%016d" % self._ids

    def round(self, actor: Any) -> None:
        """It has read a message: its round ends now, or after the messages that come soon."""
        self.touched[actor] = self.stepped[actor] = None
        actor.machine.rounds.together = self.by_rounds
        if not self.by_rounds:
            actor.perform()
        elif not actor.reading:
            actor.reading = True
            self.later(self.rounds.random() * ROUND, lambda: self._end_round(actor))

    def _end_round(self, actor: Any) -> None:
        actor.reading = False
        if actor.alive:
            actor.perform()

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Let this happen after so many seconds."""
        self.clock.at(self.now + delay, call)

    def data(self, source: bytes, target: bytes, frames: list[Any]) -> None:
        """A message to an inbox."""
        self.net.send(source, target, "data", [b"\x01" + bytes(frames[0]), *frames[1:]])

    def control(self, source: bytes, target: bytes, frames: list[Any]) -> None:
        """A message from or to the broker's control socket."""
        self.net.send(source, target, "control", [b"\x02" + bytes(frames[0]), *frames[1:]])

    # -- jobs ---------------------------------------------------------------------------------
    def _job(self) -> None:
        job = self.fresh()
        roots: list[int] | int
        if self.rng.random() < 0.7:
            roots = [self.rng.randrange(10_000) for _ in range(self.rng.choice([0, 1, 7, 60, 200]))]
        else:
            roots = self.rng.randrange(10_000)
        options = {"durability": self.rng.choice(["fsync", "fsync", "process", "memory"])}
        if self._optional:
            options |= self._more_options()
        self.asked[job] = options
        self.oracles[job] = Oracle(self.stages, roots, options.get("order", self.order))
        self.later(self.rng.random(), lambda: self.client.submit(job, self.name, roots, options))

    def _more_options(self) -> dict[str, Any]:
        """Options of a job that most jobs do not have."""
        chance = self._options
        options: dict[str, Any] = {}
        if not {Sum, Last, Placed, Wild, Flaky, Sticky, Shares} & {*self.stages} and chance.random() < 0.3:
            options["order"] = chance.choice(["path", "roots", "none"])
        if options.get("order", self.order) != "none" and chance.random() < 0.5:
            options["max_retry"] = chance.choice([1, 2])
        if chance.random() < 0.3:
            options["fail_fast"] = True
        if chance.random() < 0.2:
            options["timeout"] = chance.choice([0.5, 2.0, 6.0])
        if chance.random() < 0.3:
            options["priority"] = chance.choice([-1, 5])
        return options

    def _crowd(self, n: int) -> None:
        """Many small jobs, submitted at once."""
        self.pace = self.rounds.choice([0.0005, self.pace])  # quick work, so that its outputs share messages
        crowd = [(self.fresh(), self.rounds.randrange(10_000)) for _ in range(n)]
        options = {"durability": self.rounds.choice(["fsync", "process", "memory"])}
        if self.travel.random() < 0.7:
            carrier, _ = place_of(crowd[0][0])
            crowd = [(carried_id(carrier, number), root) for number, (_, root) in enumerate(crowd)]
            roots = [root for _, root in crowd]
            self.later(
                self.rounds.random(), lambda: self.client.submit_together(carrier, self.name, roots, options)
            )
        for job, root in crowd:
            self.oracles[job] = Oracle(self.stages, root, self.order)
        if place_of(crowd[0][0])[1] == 0:
            return
        self.later(self.rounds.random(), lambda: self.client.submit_crowd(crowd, self.name, options))

    # -- faults -------------------------------------------------------------------------------
    def _happen(self, what: str) -> None:
        rng = self.rng
        if self.name == "flaky" and what in ("sink-host", "sink-gone"):
            what = "worker"  # it is not promised that failures stay which the sink has lost
        if what == "worker" and self.workers:
            self.dies(rng.choice(self.workers))
        elif what == "first" and self.workers:
            self.dies(rng.choice([w for w in self.workers if not w.place[1]] or self.workers))
        elif what == "stage":
            index = rng.randrange(len(self.stages))
            for worker in [worker for worker in self.workers if worker.place[1] == index]:
                self.dies(worker)
        elif what in ("sink", "sink-host") and self.sinks:
            sink = rng.choice(self.sinks)
            if what == "sink-host":
                self.void.update(self.disks[sink.spool].power_cut())
            self.dies(sink)
        elif what == "sink-gone" and self.sinks:
            sink = rng.choice(self.sinks)
            self.void.update(
                self.oracles
                if self.name in ("wild", "as-they-come", "by-root")
                else self.disks[sink.spool].records
            )
            del self.disks[sink.spool]
            sink.spool = self.fresh()  # of the one that is started in its place, on another host
            self.disks[sink.spool] = Disk(0.01)
            self.dies(sink)
        elif what in ("broker", "broker-first") and self.broker.alive:
            self.trouble_after_restart = what == "broker-first"
            if self.trouble_after_restart:
                for worker in self._first():
                    worker.hang(3.0)
            self.broker.die()
        elif what in ("broker-before", "broker-after") and self.broker.alive:
            self.broker.doomed = what.removeprefix("broker-")
        elif what in ("zombie", "stop") and self.workers:
            rng.choice([*self.workers, *self.sinks]).stop(7.0 + rng.random() if what == "zombie" else 2.5)
        elif what in ("cut", "cut-long"):
            ends = rng.sample([*self.workers, *self.sinks], 2)
            self.net.cut(ends[0].incarnation, ends[1].incarnation, 15.0 if what == "cut-long" else 2.0)
        elif what in WALLS and self.workers:
            self._raise_wall(self._links.choice(self.workers), new=what == "wall-new")
        elif what == "drain" and self.workers:
            rng.choice(self.workers).drain()
        elif what == "disk":
            rng.choice(list(self.disks.values())).full_until = self.now + 3.0
            if self._shared.random() < 0.5:
                self.ledger.full_until = self.now + 3.0
        elif what == "cancel":
            job = rng.choice(list(self.oracles))
            self.cancelled.add(job)
            self.client.cancel(job)

    def _edit(self) -> None:
        """The code changes: workers that start from now on have the new one, and some start anew soon."""
        self.happened.append("edit")
        self.version = f"v{int(self.version[1:]) + 1}"
        for worker in self.versions.sample(self.workers, min(len(self.workers), self.versions.randrange(3))):
            after = self.versions.random() * 0.5
            self.later(after, worker.drain if self.versions.random() < 0.5 else partial(self.dies, worker))
        if self.versions.random() < 0.3:
            self.later(self.versions.random(), self._edit)

    def _raise_wall(self, worker: SimWorker, *, new: bool) -> None:
        """A firewall comes up before a worker, or before the one that is started in its place."""
        if new:
            self.dies(worker)
            self._walls_to_come.append(worker.place)
            return
        self.walled.add(worker.incarnation)
        self.net.wall(worker.incarnation, WALL)

    @property
    def quiet(self) -> bool:
        """Whether firewalls are all that has happened here."""
        faults = self.net.faults
        return {*self.happened} <= {*WALLS} and not (faults.drop or faults.double)

    def _set_wall(self) -> None:
        self._wall += self.more.choice([-3600.0, -30.0, 30.0, 3600.0])

    def _break_idle(self) -> None:
        """In a lull, a link breaks that some are to need again; nobody notices before it is needed."""
        self.happened.append("idle link broken")
        stage = self.more.randrange(len(self.stages))
        senders = [member for member in self.workers if member.place[1] == stage]
        receivers = [member for member in self.workers if member.place[1] == stage + 1] or self.sinks
        for sender in senders:
            for receiver in receivers:
                self.net.cut(sender.incarnation, receiver.incarnation, 2 * STUCK_AFTER)
        job = b"after the lull--"
        roots = [self.more.randrange(10_000) for _ in range(30)]
        self.oracles[job] = Oracle(self.stages, roots, self.order)
        self.later(0.5, lambda: self.client.submit(job, self.name, roots, {"durability": "fsync"}))

    def _first(self) -> list[SimWorker]:
        return [worker for worker in self.workers if not worker.place[1]]

    def _trouble_recovery(self) -> None:
        """While a restarted broker asks around, one of the first stage is silent, and others may die."""
        self.trouble_after_restart = False
        first = self._first()
        self.rng.shuffle(first)
        for worker in first[:1]:
            worker.stop(2.5)
        for worker in first[1:]:
            if self.rng.random() < 0.5:
                self.later(1.0 + self.rng.random(), lambda w=worker: self.dies(w))  # type: ignore[misc]

    def dies(
        self,
        member: SimMember,
        running: tuple[Running, ...] = (),
        cause: str = "",
    ) -> None:
        """A worker or a sink dies; its node sees that, tells the broker, and starts another."""
        if not member.alive:
            return
        self._remove(member)
        if len(running) == 1:
            task = (member.stage, running[0][0], running[0][2])
            self.killed[task] += 1
            assert self.killed[task] < 12, self.story("poison kills on and on")
        death = Death(-1, member.stage, "died", cause, running)
        self._report(member.incarnation, death)
        if self.rng.random() < 0.5:  # a stranger binds the endpoint of the dead one
            stranger = self.rng.choice([*self.workers, *self.sinks] or [None])
            if stranger is not None:
                self.net.receivers[member.incarnation] = lambda source, frames: (
                    stranger.receive(source, frames) if frames[0][:1] == b"\x01" else None
                )
        self._replace(member)

    def _remove(self, member: SimMember) -> None:
        member.alive = False
        self.deaths += 1
        self.lost_workers += isinstance(member, SimWorker)
        for members in (self.workers, self.sinks):
            if member in members:
                members.remove(member)  # type: ignore[arg-type]
        del self.net.receivers[member.incarnation]
        del self.actors[member.incarnation]

    def _replace(self, member: SimMember) -> None:
        def start() -> None:
            if isinstance(member, SimWorker):
                started = SimWorker(self, *member.place, member.where)
                self.workers.append(started)
                if member.place in self._walls_to_come:
                    self._walls_to_come.remove(member.place)
                    self._raise_wall(started, new=False)
                    self.newcomers.add(started.incarnation)
            elif isinstance(member, SimSink):
                self.sinks.append(SimSink(self, member.spool, member.stage, member.where))

        self.later(0.05 + self.rng.random() * 0.5, start)

    def _report(self, incarnation: bytes, death: Death) -> None:
        """Repeated until the broker has heard it."""
        if self.broker.alive:
            delay = self.rng.choice([0.01, 0.01, 0.7])
            self.later(delay, lambda: self._reported(incarnation, death))
        else:
            self.later(0.2, lambda: self._report(incarnation, death))

    def _reported(self, incarnation: bytes, death: Death) -> None:
        if self.broker.alive:
            self.broker.lost(incarnation, death)
        else:
            self._report(incarnation, death)

    def leaves(self, member: SimMember) -> None:
        """It was fenced, and has noticed."""
        if not member.alive:
            return
        if self.broker.alive:
            assert member.incarnation not in self.broker.machine.membership, self.story("a member left")
        if self.quiet:
            assert member.incarnation in self.walled, self.story(f"{member.stage} is out, which all reach")
            assert member.incarnation not in self.newcomers, self.story("who was not to come in is out")
        self.fenced += 1
        self._remove(member)
        self._replace(member)

    def _start_broker(self) -> SimBroker:
        names = [f"s{i}" for i in range(len(self.stages))]
        return SimBroker(
            self, self.ledger, [PipelineInfo(self.name, names, order=self.order, code=self.code_mode)]
        )

    def broker_died(self, broker: SimBroker) -> None:
        """Its node starts another, on the same ledger."""
        del self.actors[broker.me]
        self.net.receivers.pop(broker.me, None)
        self.net.receivers.pop(BROKER, None)
        self.net.reset(BROKER)

        def start() -> None:
            self.broker = self._start_broker()
            if self.trouble_after_restart:
                self._trouble_recovery()

        self.later(self.rng.choice([0.1, 1.0, 8.0]), start)

    # -- running ------------------------------------------------------------------------------
    def run(self, most: float = inf) -> None:
        """Until all jobs are done and everything has come to rest.

        Args:
            most: steps after which it is given up.

        Raises:
            AssertionError: an invariant is broken, results are wrong, or it does not come to rest.
            TooLong: it has taken so many steps.
        """
        with (
            patch.object(time, "time", lambda: self.now + self._wall),
            patch.object(output, "perf_counter", self._perf_counter),
            patch.object(production, "perf_counter", self._perf_counter),
        ):
            try:
                self._run(most)
            except (AssertionError, TooLong):
                raise
            except Exception as error:
                if not _of_the_product(error):
                    raise
                problem = f"a machine raised {type(error).__name__}: {error}"
                raise AssertionError(self.story(problem)) from error

    def _perf_counter(self) -> float:
        """What the runner times user code with: also of this world's making, so that it can be replayed."""
        self._perf += self._perf_rng.random() * 0.001
        return self._perf

    def _run(self, most: float) -> None:
        self.tick_after(self.now)
        rest_at: float | None = None
        progress, since = self._progress(), self.now
        second, steps = self.now, 0
        clock, stepped = self.clock, self.stepped
        while True:
            assert clock.step(), "nothing happens any more"
            now = clock.now
            self.steps += 1
            if now > second + 1.0:
                second, steps = now, self.steps
            for actor in stepped:
                actor.machine.check()
            stepped.clear()
            if self.steps % 10 == 0:
                self.check()
                if self.steps > most:
                    raise TooLong
            if now > since + STUCK_AFTER / 4:
                before, progress = progress, self._progress()
                if before != progress:
                    since = now
            stuck = rest_at is None and now > since + STUCK_AFTER
            assert not stuck and now < LONGEST, self.story("it does not end")
            assert self.steps < steps + MOST_STEPS, self.story("they talk without an end")
            if rest_at is None and now > (LULL + 1.0 if self._idle else 8.0) and self._done():
                walls = [until for end, until in self.net.walls.items() if end in self.actors]
                cuts = [until for ends, until in self.net.cuts.items() if self.actors.keys() >= {*ends}]
                rest_at = max([now, *cuts, *walls]) + 6.0
            if rest_at is not None and not self._all_here():
                rest_at = None  # a broker or a sink that was doomed to die at its next commit has had it now
            if rest_at is not None and now > rest_at:
                break
        self.check()
        check_results(self)
        check_rest(self)
        check_executions(self)
        check_counts(self)

    def _progress(self) -> tuple[int, ...]:
        """What changes as long as something is done."""
        return (
            self.executions.total(),
            sum(map(len, self.client.got.values())),
            sum(job.state in ("done", "failed", "cancelled") for job in self.broker.jobs().values()),
            sum(job.released + job.sequencer.buffered for s in self.sinks for job in s.machine.jobs.values()),
        )

    def tick_after(self, when: float) -> None:
        """Somebody may be due then."""
        number = max(bisect_left(TICKS, when), self._ticked + 1)
        if number < self._next_tick:
            self._next_tick = number
            self.clock.at(TICKS[number], lambda: self._tick(number))

    def _tick(self, number: int) -> None:
        """Whoever is due gets his tick."""
        if number != self._next_tick:
            return  # an earlier one was asked for after this one, and has asked for those after it
        self._ticked, self._next_tick = number, len(TICKS)
        now = self.now
        for actor in self.touched:
            due = actor.machine.deadline()
            actor.due = None if due is None else due - actor.shift
        self.touched.clear()
        for actor in list(self.actors.values()):
            if actor.due is not None and actor.due <= now and actor.alive:
                actor.tick()
        due = min((actor.due for actor in self.actors.values() if actor.due is not None), default=None)
        if due is not None:
            self.tick_after(due)

    def _done(self) -> bool:
        streams = self.client.streams
        return (
            self._all_here()
            and all(
                job in streams and (streams[job].complete or job in self.client.over) for job in self.oracles
            )
            and all(job.state in ("done", "failed", "cancelled") for job in self.broker.jobs().values())
        )

    def _all_here(self) -> bool:
        """Whether the broker and each sink live."""
        return self.broker.alive and len(self.sinks) == len(self.disks)

    # -- checks -------------------------------------------------------------------------------
    def check(self) -> None:
        """Of what two machines say, and what a client has: both are right so far."""
        check_credit(self)
        check_ended_roots(self)
        check_reach(self)
        for job, got in self.client.got.items():
            if len(got) == self._checked.get(job):
                continue  # nothing is ever taken from it
            self._checked[job] = len(got)
            if job not in self.oracles:
                continue  # the jobs that travel with it are looked at
            assert self.oracles[job].fits(got, whole=False), self.story(f"wrong results of job {job!r}")

    def story(self, what: str) -> str:
        """What to print of a world that failed."""
        jobs = [self.broker.machine.descriptions.status(job) for job in self.broker.jobs().values()]
        states = [(j.state, j.epoch, j.waiting) for j in jobs]
        return (
            f"seed {self.seed}: {what} at {self.now:.3f} s; pipeline {self.name}, happened {self.happened}, "
            f"{self.deaths} deaths, {self.net.lost} of {self.net.carried + self.net.lost} messages lost; "
            f"jobs {states}; replay: python -m tests.sim {self.seed}"
        )


def _of_the_product(error: Exception) -> bool:
    """Whether it was raised by what is tested, and not by what tests it."""
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    return not where.startswith(str(Path(__file__).parent))
