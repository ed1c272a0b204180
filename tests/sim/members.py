"""Workers and sinks in a simulated world: their machines, and the product's runner as user's thread."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from tests.sim.broker import BROKER
from tests.sim.loop import SimLoop
from tests.sim.places import Tracker
from tests.sim.stages import Die
from zturbo import Stage
from zturbo.core.effects import (
    Control,
    Deliver,
    Drop,
    EndJob,
    Exit,
    ForgetDamaged,
    Free,
    Meet,
    Note,
    Reclaim,
    Run,
    Send,
    Spill,
    Store,
    Work,
)
from zturbo.core.sink.machine import SinkMachine
from zturbo.core.worker.machine import WorkerMachine
from zturbo.core.worker.produced import Produced
from zturbo.runtime.code.batching import BatchRunner
from zturbo.runtime.code.cutting import cut_short
from zturbo.runtime.code.overlapping import AsyncRunner
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.runner import Runner
from zturbo.runtime.code.stagehost import StageHost
from zturbo.runtime.process.running import GIVEN, SERIAL
from zturbo.slotted import replace
from zturbo.wire.blobs import slice_blob
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_answer
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Batch, Path, Results, Want
from zturbo.wire.payload import failure_origin, pack_many, unpack_error_map
from zturbo_broker.jobs.strikes import Running

if TYPE_CHECKING:
    from tests.sim.world import World

__all__ = ["SimMember", "SimSink", "SimWorker"]

ENDPOINTS = ("ipc://sim", "tcp://10.0.0.1:1")
"""Of each process: ipc for its own host, tcp for others."""


class SimMember:
    """What workers and sinks have in common: hello, views, timers, being stopped for a while."""

    def __init__(self, world: World, incarnation: bytes, where: str = "") -> None:
        self.world = world
        self.incarnation = incarnation
        self.alive = True
        self.due: float | None = 0.0
        """When its machine wants a tick."""
        self.where = where or world.more.choice(world.hosts)
        self.shift = world.shifts[self.where]
        """How far its host's monotonic clock, which only counts from a start, is from the world's."""
        self.stopped = False
        self.reading = False
        """Whether a round is going on."""
        self.member: Member
        self.stage = ""
        self.code = world.version
        """Fingerprint of its code."""
        self.machine: Any
        self._backlog: list[tuple[bytes, list[bytes]]] = []
        world.net.receivers[incarnation] = self.receive
        world.net.where[incarnation] = self.where
        world.actors[incarnation] = self
        world.tick_after(world.now)

    @property
    def now(self) -> float:
        """By the clock of its host."""
        return self.world.now + self.shift

    def hello(self) -> None:
        """Said each second, as the heartbeat."""
        if not self.alive:
            return
        self.world.later(1.0 if self.machine.joined else 0.1, self.hello)
        if self.stopped:
            return
        message = to_broker.Hello(
            member=self.member,
            node=b"n" * 16,
            pid=1,
            protocol=PROTOCOL,
            version="",
            python="",
            stage_name=self.stage,
            code=self.code,
            view=self.machine.receivers.view.number if self.machine.joined else 0,
            jobs=tuple(self.machine.known(0, 64)),
        )
        self.world.control(self.incarnation, BROKER, pack_control(message))
        self.world.control(self.incarnation, BROKER, pack_control(self.machine.progress()))

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        self.stopped = True
        self.world.later(seconds, self._go_on)

    def _go_on(self) -> None:
        self.stopped = False
        backlog, self._backlog = self._backlog, []
        for source, frames in backlog:
            self.receive(source, frames)

    def receive(self, source: bytes, frames: list[bytes]) -> None:
        """A message, to the control socket or to the inbox."""
        if not self.alive:
            return
        if self.stopped:
            self._backlog.append((source, frames))
            return
        now = self.now
        if frames[0][:1] == b"\x01":
            message = decode([frames[0][1:], *frames[1:]])
            if isinstance(message, Want) and isinstance(self, SimSink):
                self.machine.want(source, message, now)
            else:
                self.machine.data(message, now)
        else:
            self._control(read_answer([frames[0][1:]]), now)
        if self.alive:
            self.look()
            self.world.round(self)

    def _control(self, message: Message, now: float) -> None:
        if isinstance(message, from_broker.ViewChanges):
            mine = self.machine.receivers.view
            view = message.change.applied(mine)
            if view is None:
                question = to_broker.GetView(view=mine.number)
                self.world.control(self.incarnation, BROKER, pack_control(question))
            elif view is not mine:
                self.machine.control(from_broker.NewView(view=view), now)
        elif isinstance(message, from_broker.Refused):
            assert not message.final, self.world.story(f"{self.stage} is refused for good: {message.reason}")
            self.world.leaves(self)
        else:
            self.machine.control(message, now)

    def tick(self) -> None:
        """Time has passed."""
        if self.alive and not self.stopped:
            self.machine.tick(self.now)
            self.perform()

    def perform(self) -> None:
        """Do what the machine wants done."""
        self.world.touch(self)
        rounds = self.machine.rounds
        while (self.machine.effects or rounds.due) and self.alive:
            self.look()
            rounds.end(self.now)
            self.look()
            effects, self.machine.effects[:] = list(self.machine.effects), []
            for effect in effects:
                if not self.alive:
                    return
                if isinstance(effect, Send):
                    self.world.data(self.incarnation, effect.peer, encode(effect.message))
                elif isinstance(effect, Control):
                    self.world.control(self.incarnation, BROKER, pack_control(effect.message))
                elif isinstance(effect, Exit):
                    self.world.leaves(self)
                elif isinstance(effect, Meet):
                    pass  # all can be reached here, unless a link is broken
                else:
                    self.special(effect)

    def special(self, effect: Any) -> None:
        """An effect of this role alone."""
        raise NotImplementedError

    def look(self) -> None:
        """An event is over."""


class _Slot:
    """What runs, as a node reads it."""

    def __init__(self, world: World, stage: int) -> None:
        self._world = world
        self._stage = stage
        self.died: tuple[Running, ...] = ()
        """What was begun last: what a node reads of a worker that died in it."""
        self._table: dict[int, Running] = {}
        self._head: tuple[bytes, int, Path, bool] = (b"", 0, (), False)
        self._shift = 0
        self.numbers = self

    def begin(self, job: bytes, epoch: int, prefix: Path, root: bool) -> None:
        self._head = (job, epoch, prefix, root)

    def task(self, k: int) -> None:
        job, epoch, prefix, root = self._head
        path = () if root else (*prefix, k)
        self.died = ((job, epoch, path, 0),)
        self._world.executions[(job, self._stage, epoch, path)] += 1

    def run(self, job: bytes, epoch: int, first: Path, n: int) -> int:
        self.begin(job, epoch, first[:-1], not first)
        self._shift = first[-1] - 1 if first else 0
        return 1

    def __setitem__(self, item: int, value: int) -> None:
        """One of ``RunningNote.numbers`` becomes this."""
        if item == SERIAL:
            self.task(value + self._shift)
        elif item == GIVEN and len(self.died) == 1:
            self.died = ((*self.died[0][:3], value),)

    def several(self, job: bytes, epoch: int, paths: list[Path]) -> None:
        for path in paths:
            self._world.executions[(job, self._stage, epoch, path)] += 1
        if paths:
            self.died = tuple((job, epoch, path, 0) for path in paths)

    def nearest(self, job: bytes, epoch: int, paths: list[Path]) -> None: ...

    def end(self) -> None: ...

    def enter(self, place: int, job: bytes, epoch: int, path: Path) -> None:
        self._world.executions[(job, self._stage, epoch, path)] += 1
        self._table[place] = (job, epoch, path, 0)

    def gave(self, place: int, count: int) -> None:
        self._table[place] = (*self._table[place][:3], count)

    def leave(self, place: int) -> None:
        del self._table[place]

    @property
    def table(self) -> tuple[Running, ...]:
        """What a node reads of a worker that ran many at a time."""
        return tuple(self._table.values())


class SimWorker(SimMember):
    """A worker: its machine, and the product's runner as its user's thread."""

    def __init__(
        self, world: World, pipeline: str, index: int, stages: list[type[Stage]], where: str = ""
    ) -> None:
        super().__init__(world, world.fresh(), where)
        cls = stages[index]
        self.stage = f"s{index}"
        self.place = (pipeline, index, stages)
        self.loop = SimLoop(world.clock, lambda: world.later(world.rng.random() * 0.001, self._turn))
        self.host = StageHost(cls, name=self.stage, index=index, loop=self.loop)
        self.host.context.through += (Die,)  # a kill from outside, of which no stage's code has a word
        self.running_note = self.host.context.running_note = _Slot(world, index)
        self.machine: WorkerMachine = WorkerMachine(
            self.incarnation,
            pipeline=pipeline,
            stage=index,
            stages=len(stages),
            ordered=self.host.ordered,
            spill_bytes=world.rng.choice([200, 1 << 20]),
            batch=self.host.batch,
            batch_wait=self.host.batch_wait,
            concurrency=self.host.concurrency,
            fanout=world.fanout,
            bounded=world.bounded,
        )
        self.places = Tracker(self.machine)
        self.spilled: dict[int, tuple[Batch, Any, Any]] = {}
        self.member = Member(
            self.incarnation,
            "worker",
            pipeline,
            index,
            self.where,
            ENDPOINTS,
            slots=self.host.slots if self.host.ordered else 0,
            ordered=self.host.ordered,
            deterministic=self.host.deterministic,
            stateful=self.host.stateful,
        )
        self.todo: deque[Work | EndJob] = deque()
        self.busy = False
        self.hangs_until = 0.0
        self.given: list[Produced] = []
        self.posted: deque[Produced] = deque()
        """What a runner of many at a time has given, on its way to the machine, which keeps its order."""
        self._posted_at = 0.0
        self._gave_at = 0.0
        kind = BatchRunner if self.host.batch else Runner
        self.runner = (
            AsyncRunner(Production(self.host, self._post, self._current, 1 << 20), free=self._free)
            if self.host.concurrency
            else kind(Production(self.host, self.given.extend, self._current, 1 << 20))
        )
        self._drain_until: float | None = None
        self._leaves = False
        self.hello()

    def look(self) -> None:
        """Compare the places of its tasks with the table."""
        self.places.look()

    def _current(self, job: bytes) -> int | None:
        state = self.machine.jobs.get(job)
        return None if state is None else state.stamp.epoch

    def special(self, effect: Any) -> None:
        if isinstance(effect, Spill):
            batch = effect.batch
            self.spilled[id(batch)] = (batch, batch.blob, batch.metas)
            batch.blob = b""
            return
        if isinstance(effect, Reclaim):
            self.machine.reclaimed(effect.work, cut_short(effect.work), self.now)
            self.places.look()
            return
        assert isinstance(effect, (Run, EndJob))
        if isinstance(effect, Run):
            for batch, _, _ in effect.work.pieces:
                if id(batch) in self.spilled:
                    _, batch.blob, batch.metas = self.spilled.pop(id(batch))
        item = effect.work if isinstance(effect, Run) else effect
        if isinstance(self.runner, AsyncRunner):
            self.loop.call_soon(self._take, item)
            return
        self.todo.append(item)
        self._start()

    # -- many at a time: what runs is the loop ------------------------------------------------
    def _take(self, item: Work | EndJob) -> None:
        if isinstance(item, EndJob):
            self.runner.job_ended(item.job)
        else:
            self.runner.run(item)

    def _turn(self) -> None:
        """A turn of the loop, if the process runs and no coroutine holds it up."""
        if not self.alive:
            return
        if self.stopped:
            self.world.later(0.5, self._turn)
        elif self.world.now < self.hangs_until:
            self.world.clock.at(self.hangs_until, self._turn)
        else:
            if self.world.slow and self.world.rng.random() < 0.01:
                self.hangs_until = self.world.now + self.world.rng.random() * 1.5
            self.loop.step()
            if isinstance(self.runner, AsyncRunner) and self.runner.turns.fatal is not None:
                assert isinstance(self.runner.turns.fatal, Die), self.runner.turns.fatal
                self.world.dies(self, self.running_note.table)

    def _free(self) -> bool:
        return len(self.posted) <= 16 and not self.machine.senders.pressed

    def _post(self, given: list[Produced]) -> None:
        for produced in given:
            self._post_one(produced)

    def _post_one(self, produced: Produced) -> None:
        now = self.world.now
        produced.seconds, self._gave_at = now - self._gave_at, now
        self.posted.append(produced)
        self._posted_at = max(self._posted_at, now + self.world.rng.random() * self.world.pace)
        self.world.clock.at(self._posted_at, self._next_posted)

    def _next_posted(self) -> None:
        if self.stopped and self.alive:
            self.world.later(0.5, self._next_posted)
        elif self.alive:
            self._give(self.posted.popleft())
            assert isinstance(self.runner, AsyncRunner)
            self.loop.call_soon(self.runner.go)

    # -- one by one ---------------------------------------------------------------------------

    def _start(self) -> None:
        if self.busy or not self.todo or not self.alive:
            return
        if self.stopped:
            self.world.later(0.5, self._start)
            return
        self.busy = True
        if self.world.slow and self.world.rng.random() < 0.1:
            # A task before the first of these takes its time: they are at hand, and not begun.
            self.world.later(self.world.rng.random() * 1.5, self._run_next)
        else:
            self._run_next()

    def _run_next(self) -> None:
        if not self.alive or self.stopped:
            self.busy = False
            if self.alive:
                self.world.later(0.5, self._start)
            return
        item = self.todo.popleft()
        try:
            if isinstance(item, EndJob):
                self.runner.job_ended(item.job)
            else:
                self.runner.run(item)
        except Die:
            self.world.dies(self, self.running_note.died)
            return
        if self.runner.wait() is None and (not self.todo or self.world.rng.random() < 0.5):
            self.runner.idle()
        given, self.given[:] = list(self.given), []
        delay = 0.0
        slow = self.world.slow and self.world.rng.random() < 0.05
        for produced in given:
            delay += self.world.rng.random() * (1.5 if slow else self.world.pace)
            produced.seconds = delay
            self.world.later(delay, lambda p=produced: self._produced(p))  # type: ignore[misc]
        self.world.later(delay, self._rest)

    def _produced(self, produced: Produced) -> None:
        if self.stopped and self.alive:
            self.world.later(0.5, lambda: self._produced(produced))
        elif self.alive:
            self._give(produced)

    def _give(self, produced: Produced) -> None:
        batch, index = produced.batch, self.place[1]
        if batch is not None and self._current(produced.job) == produced.epoch:
            failed = sum(unpack_error_map(fail.error)["stage"] == self.stage for fail in batch.fails)
            dropped = sum(not end.count for end in batch.ends if end.path or not self.host.ordered)
            self.world.codes[produced.job, produced.epoch, index].add(self.code)
            given = self.world.given[(produced.job, produced.epoch, index)]
            given[0] += batch.n + dropped + failed
            given[1] += failed
        self.machine.produced(produced, self.now)
        self.perform()

    def _rest(self) -> None:
        if not self.alive:
            return
        if self.stopped:
            self.world.later(0.6, self._rest)
            return
        if self.world.now < self.hangs_until:
            self.world.later(self.hangs_until - self.world.now, self._rest)
            return
        self.busy = False
        if self.todo:
            self._start()
        elif self.runner.wait() is not None:
            self.world.later(self.world.rng.random() * 0.05, self._idle)
        else:
            self._idle()

    def _idle(self) -> None:
        """No work came: what waits for company, if anything does, waits no longer."""
        if self.busy or self.todo or not self.alive:
            return
        if self.stopped:
            self.world.later(0.6, self._idle)
            return
        try:
            self.runner.idle()
        except Die:
            self.world.dies(self, self.running_note.died)
            return
        given, self.given[:] = list(self.given), []
        for produced in given:
            self._produced(produced)

    def hang(self, seconds: float) -> None:
        """Its code takes its time, from the end of what it does now on."""
        self.hangs_until = self.world.now + seconds
        if not self.busy and not isinstance(self.runner, AsyncRunner):
            self.busy = True
            self._rest()

    def drain(self) -> None:
        """SIGTERM: finish what runs, give the rest back, leave."""
        if self._drain_until is None and self.alive and not self.stopped:
            self._drain_until = self.world.now + 2.0
            self.machine.drain(self.now)
            self.perform()
            self._drained()

    def _drained(self) -> None:
        assert self._drain_until is not None
        if not self.alive:
            return
        if self.world.now >= self._drain_until or (self._leaves and self.machine.idle):
            self.world.cut_short |= not self.machine.idle
            self.world.dies(self, cause="stopped")
            return
        self._leaves = self.machine.idle
        self.world.later(0.1, self._drained)


UNREAD = 27 << 20
"""Bytes in memory for which a result counts, where its reader lets go of what it has taken."""


class SimSink(SimMember):
    """A sink whose disk syncs after a while, in order."""

    def __init__(self, world: World, spool: bytes, name: str, where: str = "") -> None:
        super().__init__(world, world.fresh(), where)
        self.stage = name
        self.spool = spool
        self.disk = world.disks[spool]
        self.machine: SinkMachine = SinkMachine(self.incarnation, spool, origin_of=failure_origin)
        if not world.sips:  # such a world stays what it was before roots went early
            self.machine.reports.trimming = lambda job, now: None  # type: ignore[method-assign]
        self.member = Member(self.incarnation, "sink", "", -1, self.where, ENDPOINTS, ENDPOINTS, spool=spool)
        self.batches: dict[int, Batch] = {}
        self.left: dict[int, int] = {}
        """Batch -> its results that are needed still."""
        self.synced = 0.0
        self.unwritten: deque[Store | Note] = deque()
        self._recover()
        self.hello()

    def _recover(self) -> None:
        token = 0
        for job in self.disk.damaged:
            self.disk.drop(job)
        for job, records in self.disk.records.items():
            for frames in records:
                message = decode(frames)
                if isinstance(message, Want):
                    self.machine.recovered_cursor(job, message.taken, message.first)
                    continue
                assert isinstance(message, Batch)
                token += 1
                self.batches[token] = message
                self.machine.recovered(token, message, self.now)
        for job in self.disk.records:
            self._let_go(self.machine.freed(job))
        self.machine.recovery_done(list(self.disk.damaged), self.now)
        self.perform()

    def perform(self) -> None:
        if self.world.sips:
            once = [job for job in self.machine.jobs.values() if job.once]
            self.machine.pace.nbytes = UNREAD * sum(job.released - job.freed for job in once)
        super().perform()

    def special(self, effect: Any) -> None:
        if isinstance(effect, (Store, Note)):
            self.unwritten.append(effect)
            self._write()
        elif isinstance(effect, Deliver):
            self._deliver(effect)
        elif isinstance(effect, Free):
            if not self.unwritten:
                self.disk.append(effect.job, encode(Want(effect.job, 0, effect.index, 0, effect.index)))
                self.machine.gone(effect.job, effect.index)
                self._let_go(effect.pieces)
        elif isinstance(effect, ForgetDamaged):
            self.disk.clear_damaged(effect.jobs)
        else:
            assert isinstance(effect, Drop)
            self.disk.drop(effect.job)

    def _let_go(self, pieces: list[tuple[int, int, int]]) -> None:
        """The contents of batches are gone of which all results were let go."""
        for token, start, stop in pieces:
            batch = self.batches[token]
            self.left[token] = self.left.get(token, batch.n) - (stop - start)
            if self.left[token] == 0:
                self.batches[token] = replace(batch, blob=pack_many([None] * batch.n))

    def _write(self) -> None:
        while self.unwritten and self.alive:
            if self.world.now < self.disk.full_until:
                self.machine.paused = True
                self.world.clock.at(self.disk.full_until, self._write)
                return
            self.machine.paused = False
            self.world.touch(self)
            effect = self.unwritten.popleft()
            if isinstance(effect, Note):
                me = self.incarnation
                stamp = effect.stamp
                note = (
                    Want(effect.job, 0, 0, 0, effect.cursor)
                    if stamp is None
                    else Batch(stamp.job, stamp.epoch, 0, stamp=stamp, number=1, source=me, target=me)
                )
                self.disk.append(effect.job, encode(note))
                continue
            if effect.job in self.machine.jobs:
                self.disk.append(effect.job, encode(effect.batch))
            self.batches[effect.token] = effect.batch
            if effect.durability == "fsync":
                self.synced = max(self.synced, self.world.now + self.world.rng.random() * self.disk.slow)
                here = len(self.disk.records.get(effect.job, ()))
                self.world.clock.at(
                    self.synced,
                    lambda e=effect, n=here: self._stored(e, n),  # type: ignore[misc]
                )
            else:
                self.world.later(0.0, lambda e=effect: self._stored(e, 0))  # type: ignore[misc]

    def _stored(self, effect: Store, synced: int) -> None:
        if self.stopped and self.alive:
            self.world.later(0.5, lambda: self._stored(effect, synced))
        elif self.alive:
            if effect.job in self.disk.records:
                self.disk.synced[effect.job] = max(self.disk.synced.get(effect.job, 0), synced)
            self.machine.stored([effect.token], self.now)
            self.perform()

    def _deliver(self, effect: Deliver) -> None:
        results = effect.results
        for _, token, place in effect.fails:
            there = place < len(self.batches[token].fails)
            assert there, self.world.story("a failure that is not there is told")
        blob = b"".join(
            slice_blob(self.batches[token].blob, self.batches[token].n, start, stop)
            for token, start, stop in effect.pieces
        )
        whole = Results(
            results.job,
            results.token,
            results.first,
            results.n,
            blob,
            fails=sorted(
                [(i, self.batches[token].fails[place].error) for i, token, place in effect.fails]
                + list(results.fails)
            ),
            total=results.total,
            problem=results.problem,
            roots=results.roots,
        )
        self.world.data(self.incarnation, effect.client, encode(whole))
