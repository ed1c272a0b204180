"""A simulated world: the real machines of all roles on a virtual clock and a lying network.

Everything that is decided comes from the product; only sockets, clocks, threads and disks are played.
The user's code runs through the product's own runner. Each world is made by its seed alone.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from broker.machine import BrokerMachine, PipelineInfo
from tests.sim.network import Clock, Faults, Network
from tests.sim.stages import PIPELINES
from zturbo import Stage, Task
from zturbo.core.effects import (
    Confirm,
    Control,
    Deliver,
    Drop,
    EndJob,
    Exit,
    Load,
    Note,
    Reclaim,
    Record,
    Run,
    Send,
    Spill,
    Store,
    Work,
)
from zturbo.core.sink import SinkMachine
from zturbo.core.stream import ResultStream
from zturbo.core.worker import Produced, WorkerMachine
from zturbo.debug import DebugPipeline
from zturbo.runtime.runner import Runner
from zturbo.runtime.stagehost import StageHost
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import Member, pack_control, unpack_control
from zturbo.wire.messages import PROTOCOL, Batch, Results, Want
from zturbo.wire.payload import pack_many, slice_blob, unpack_error_map, unpack_many

__all__ = ["World"]

BROKER = b"broker----------"
CLIENT = b"client----------"


class SimBroker:
    """The broker's machine, with a ledger in memory."""

    def __init__(self, world: World, pipelines: list[PipelineInfo]) -> None:
        self.world = world
        self.chunks: dict[tuple[bytes, int], Batch] = {}
        member = Member(BROKER, "broker", "", -1, "host", ("sim",))
        self.machine = BrokerMachine(member, pipelines, view=1, lease=5.0)
        self.handlers: dict[str, Callable[[bytes, dict[str, Any], list[bytes]], None]] = {
            "hello": lambda who, m, f: self.machine.hello(who, m, world.now),
            "get_view": lambda who, m, f: self.machine.get_view(who),
            "complete": lambda who, m, f: self.machine.complete(who, m, world.now),
            "job_failed": lambda who, m, f: self.machine.job_failed(m, world.now),
            "submit": self._submit,
            "feed": self._feed,
            "close_feed": lambda who, m, f: self.machine.close_feed(who, m, world.now),
            "attach": lambda who, m, f: self.machine.attach(who, m),
        }
        world.net.receivers[BROKER] = self.receive
        world.actors[BROKER] = self

    def _submit(self, who: bytes, m: dict[str, Any], frames: list[bytes]) -> None:
        root = None if m["stream"] else Batch(m["job"], 0, 0, [((), 1)], 1, frames[0])
        self.machine.submit(who, m, root, self.world.now)

    def _feed(self, who: bytes, m: dict[str, Any], frames: list[bytes]) -> None:
        roots = Batch(m["job"], 0, 0, [((m["first"],), m["n"])], m["n"], frames[0])
        self.machine.feed(who, m, roots, self.world.now)

    def receive(self, source: bytes, frames: list[bytes]) -> None:
        if frames[0][:1] == b"\x01":
            self.machine.data(decode([frames[0][1:], *frames[1:]]), self.world.now)
        else:
            message = unpack_control([frames[0][1:], *frames[1:]])
            self.handlers[message["type"]](source, message, frames[1:])
        self.perform()

    def perform(self) -> None:
        while self.machine.effects:
            effects, self.machine.effects[:] = list(self.machine.effects), []
            for effect in effects:
                if isinstance(effect, Send):
                    self.world.data(BROKER, effect.peer, encode(effect.message))
                elif isinstance(effect, (Control, Confirm)):
                    self.world.control(BROKER, effect.to, pack_control(effect.message))
                elif isinstance(effect, Record) and effect.op == "put_chunk":
                    job, seq, _, _, roots = effect.args
                    self.chunks[(job, seq)] = roots
                elif isinstance(effect, Load):
                    roots = self.chunks[(effect.job, effect.seq)]
                    self.world.later(
                        0.001,
                        lambda e=effect, r=roots: self._loaded(e, r),  # type: ignore[misc]
                    )

    def _loaded(self, effect: Load, roots: Batch) -> None:
        self.machine.loaded(effect.job, effect.seq, roots, self.world.now)
        self.perform()

    def tick(self) -> None:
        self.machine.tick(self.world.now)
        self.perform()

    def lost(self, incarnation: bytes) -> None:
        self.machine.exited(incarnation, self.world.now)
        self.perform()


class SimMember:
    """What workers and sinks have in common: hello, views, timers."""

    def __init__(self, world: World, incarnation: bytes) -> None:
        self.world = world
        self.incarnation = incarnation
        self.alive = True
        self.member: Member
        self.stage = ""
        self.machine: Any
        world.net.receivers[incarnation] = self.receive
        world.actors[incarnation] = self

    def hello(self) -> None:
        if not self.alive:
            return
        view = self.machine.inlet.view.number if self.machine.joined else 0
        message = {
            "type": "hello",
            "member": self.member,
            "node": b"n" * 16,
            "pid": 1,
            "protocol": PROTOCOL,
            "version": "",
            "python": "",
            "stage": self.stage,
            "code": "",
            "view": view,
            "jobs": list(self.machine.jobs)[:64],
        }
        self.world.control(self.incarnation, BROKER, pack_control(message))
        self.world.later(1.0 if self.machine.joined else 0.1, self.hello)

    def receive(self, source: bytes, frames: list[bytes]) -> None:
        if not self.alive:
            return
        now = self.world.now
        if frames[0][:1] == b"\x01":
            message = decode([frames[0][1:], *frames[1:]])
            if isinstance(message, Want):
                self.machine.want(source, message, now)
            else:
                self.machine.data(message, now)
        else:
            control = unpack_control([frames[0][1:]])
            kind = control["type"]
            if kind in ("welcome", "view"):
                self.machine.view(control["view"], now)
            elif kind == "stamp":
                self.machine.stamp(control["stamp"], now)
            elif kind == "forget":
                self.machine.forget(list(control["jobs"]), now)
            elif kind == "confirmed":
                self.machine.confirm(control["job"])
            elif kind == "refused":
                raise AssertionError(f"a living member was refused: {control['reason']}")
        self.perform()

    def tick(self) -> None:
        if self.alive:
            self.machine.tick(self.world.now)
            self.perform()

    def perform(self) -> None:
        while self.machine.effects:
            effects, self.machine.effects[:] = list(self.machine.effects), []
            for effect in effects:
                if isinstance(effect, Send):
                    self.world.data(self.incarnation, effect.peer, encode(effect.message))
                elif isinstance(effect, Control):
                    self.world.control(self.incarnation, BROKER, pack_control(effect.message))
                elif isinstance(effect, Exit):
                    raise AssertionError(f"a living member left: {effect.reason}")
                else:
                    self.special(effect)

    def special(self, effect: Any) -> None:
        raise NotImplementedError


class SimWorker(SimMember):
    """A worker: its machine, and the product's runner as its user's thread."""

    def __init__(self, world: World, pipeline: str, index: int, stages: list[type[Stage]]) -> None:
        super().__init__(world, world.fresh())
        cls = stages[index]
        self.stage = f"s{index}"
        self.place = (pipeline, index, stages)
        self.host = StageHost(cls, name=self.stage, index=index)
        self.machine: WorkerMachine = WorkerMachine(
            self.incarnation,
            pipeline=pipeline,
            stage=index,
            stages=len(stages),
            ordered=self.host.ordered,
            by_path=not self.host.by_id,
            spill_bytes=world.rng.choice([200, 1 << 20]),
        )
        self.spilled: dict[int, tuple[Batch, Any, Any]] = {}
        self.member = Member(
            self.incarnation,
            "worker",
            pipeline,
            index,
            "host",
            ("sim",),
            slots=self.host.slots if self.host.ordered else 0,
            ordered=self.host.ordered,
        )
        self.todo: deque[Work | EndJob] = deque()
        self.busy = False
        self.given: list[Produced] = []
        self.runner = Runner(self.host, self.given.append, self._current, 1 << 20)
        self.hello()

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
            self.machine.reclaimed(effect.work, effect.work.stop_early(), self.world.now)
            return
        assert isinstance(effect, (Run, EndJob))
        if isinstance(effect, Run):
            for batch, _, _ in effect.work.pieces:
                if id(batch) in self.spilled:
                    _, batch.blob, batch.metas = self.spilled.pop(id(batch))
        self.todo.append(effect.work if isinstance(effect, Run) else effect)
        self._start()

    def _start(self) -> None:
        if self.busy or not self.todo:
            return
        self.busy = True
        item = self.todo.popleft()
        if isinstance(item, EndJob):
            self.runner.job_ended(item.job)
        else:
            self.runner.run(item)
        if not self.todo or self.world.rng.random() < 0.5:
            self.runner.idle()
        given, self.given[:] = list(self.given), []
        delay = 0.0
        for produced in given:
            delay += self.world.rng.random() * 0.02
            produced.seconds = delay
            self.world.later(delay, lambda p=produced: self._produced(p))  # type: ignore[misc]
        self.world.later(delay, self._rest)

    def _produced(self, produced: Produced) -> None:
        if self.alive:
            self.machine.produced(produced, self.world.now)
            self.perform()

    def _rest(self) -> None:
        if not self.alive:
            return
        self.busy = False
        if self.todo:
            self._start()
        else:
            self.runner.idle()
            given, self.given[:] = list(self.given), []
            for produced in given:
                self._produced(produced)


class SimSink(SimMember):
    """A sink whose disk syncs after a while, in order."""

    def __init__(self, world: World) -> None:
        super().__init__(world, world.fresh())
        self.machine: SinkMachine = SinkMachine(self.incarnation)
        self.member = Member(self.incarnation, "sink", "", -1, "host", ("sim",), ("sim",))
        self.batches: dict[int, Batch] = {}
        self.synced = 0.0
        self.hello()

    def special(self, effect: Any) -> None:
        if isinstance(effect, Store):
            self.batches[effect.token] = effect.batch
            self.synced = max(self.synced, self.world.now + self.world.rng.random() * 0.01)
            self.world.clock.at(self.synced, lambda: self._stored(effect.token))
        elif isinstance(effect, Deliver):
            self._deliver(effect)
        else:
            assert isinstance(effect, (Drop, Note))

    def _stored(self, token: int) -> None:
        if self.alive:
            self.machine.stored([token], self.world.now)
            self.perform()

    def _deliver(self, effect: Deliver) -> None:
        results = effect.results
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
            fails=results.fails,
            total=results.total,
            problem=results.problem,
        )
        self.world.data(self.incarnation, effect.client, encode(whole))


class SimClient:
    """Submits jobs, feeds streams, reads results; repeats what is not answered."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ref = 0
        self.pending: dict[int, tuple[list[Any], Callable[[dict[str, Any]], None]]] = {}
        self.streams: dict[bytes, ResultStream] = {}
        self.sinks: dict[bytes, bytes] = {}
        self.got: dict[bytes, list[Any]] = {}
        world.net.receivers[CLIENT] = self.receive

    def ask(
        self, message: dict[str, Any], *frames: bytes, then: Callable[[dict[str, Any]], None] = lambda v: None
    ) -> None:
        self.ref += 1
        ref = self.ref
        packed = pack_control({**message, "ref": ref}, *frames)
        self.pending[ref] = (packed, then)
        self._say(ref)

    def _say(self, ref: int) -> None:
        if ref in self.pending:
            self.world.control(CLIENT, BROKER, self.pending[ref][0])
            self.world.later(1.0, lambda: self._say(ref))

    def submit(self, job: bytes, pipeline: str, roots: list[int] | int) -> None:
        stream = isinstance(roots, list)
        message = {
            "type": "submit",
            "client": CLIENT,
            "job": job,
            "name": job.hex(),
            "pipeline": pipeline,
            "stream": stream,
            "options": {},
            "meta": None,
            "digest": b"",
        }
        self.got[job] = []
        self.streams[job] = ResultStream(job, 0, 0)
        if isinstance(roots, list):
            self.ask(message, then=lambda value: (self._feed(job, roots), self._watch(job)))
        else:
            self.ask(message, pack_many([roots]), then=lambda value: self._watch(job))

    def _feed(self, job: bytes, roots: list[int]) -> None:
        first = seq = 0
        while first < len(roots):
            n = self.world.rng.randint(1, 40)
            part = roots[first : first + n]
            self.ask(
                {"type": "feed", "job": job, "seq": seq, "first": first, "n": len(part), "metas": None},
                pack_many(part),
            )
            first += len(part)
            seq += 1
        self.ask({"type": "close_feed", "job": job, "chunks": seq, "total": len(roots)})

    def _watch(self, job: bytes) -> None:
        """Ask where the results are, and for the next ones, until all are here."""
        stream = self.streams[job]
        if stream.complete:
            return
        if self.world.rng.random() < 0.2 or job not in self.sinks:
            self.ask({"type": "attach", "job": job}, then=lambda value: self._placed(job, value))
        if job in self.sinks:
            want = stream.want(self.world.now)
            if want is not None:
                self.world.data(CLIENT, self.sinks[job], encode(want))
        self.world.later(0.1, lambda: self._watch(job))

    def _placed(self, job: bytes, value: dict[str, Any]) -> None:
        assert value["state"] in ("waiting", "running", "done"), value
        if value["sink"] and self.sinks.get(job) != value["sink"]:
            self.sinks[job] = value["sink"]
            self.streams[job].restart(value["token"])

    def receive(self, source: bytes, frames: list[bytes]) -> None:
        if frames[0][:1] == b"\x01":
            message = decode([frames[0][1:], *frames[1:]])
            assert isinstance(message, Results)
            self._results(message)
            return
        control = unpack_control([frames[0][1:]])
        entry = self.pending.pop(control["ref"], None)
        if entry is not None:
            assert control["type"] == "ok", control
            entry[1](control["value"])

    def _results(self, message: Results) -> None:
        stream = self.streams[message.job]
        skip = stream.results(message, len(message.blob), self.world.now)
        if skip is None:
            assert stream.problem in (None, "superseded"), stream.problem
            return
        fails = dict(message.fails)
        contents = iter(unpack_many(message.blob, message.n - len(fails)))
        for index in range(message.first, message.first + message.n):
            item = _outcome(fails[index]) if index in fails else next(contents)
            if index >= message.first + skip:
                self.got[message.job].append(item)
                stream.take(1)


def _outcome(error: bytes) -> tuple[str, str, str]:
    fields = unpack_error_map(error)
    return (fields["stage"], fields["type"], fields["message"])


class World:
    """One world.

    Args:
        seed: everything random comes of it.
        faults: whether messages get lost and workers die.
    """

    def __init__(self, seed: int, *, faults: bool = True) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        rng = self.rng
        self.clock = Clock()
        kinds = [
            Faults(),
            Faults(drop=0.02),
            Faults(double=0.05, delay=0.05),
            Faults(drop=0.1, double=0.1, delay=0.03, until=8.0),
        ]
        self.net = Network(self.clock, rng, rng.choice(kinds) if faults else Faults())
        self.actors: dict[bytes, Any] = {}
        self._ids = 0
        self.name = rng.choice(sorted(PIPELINES))
        stages = PIPELINES[self.name]
        info = PipelineInfo(self.name, [f"s{i}" for i in range(len(stages))], order="path")
        self.broker = SimBroker(self, [info])
        self.client = SimClient(self)
        self.sinks = [SimSink(self) for _ in range(rng.choice([1, 1, 2]))]
        self.workers = [
            SimWorker(self, self.name, index, stages)
            for index in range(len(stages))
            for _ in range(rng.choice([1, 2, 3]))
        ]
        self.expected: dict[bytes, list[Any]] = {}
        self.deaths = 0
        for _ in range(rng.choice([1, 1, 2, 4])):
            self._job(stages)
        if faults:
            for _ in range(rng.choice([0, 1, 1, 3])):
                self.later(rng.random() * 3.0, self._kill)

    # -- for the actors -----------------------------------------------------------------------
    @property
    def now(self) -> float:
        """Virtual time."""
        return self.clock.now

    def fresh(self) -> bytes:
        """A new id."""
        self._ids += 1
        return b"%016d" % self._ids

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Let this happen after so many seconds."""
        self.clock.at(self.now + delay, call)

    def data(self, source: bytes, target: bytes, frames: list[Any]) -> None:
        """A message to an inbox."""
        self.net.send(source, target, "data", [b"\x01" + bytes(frames[0]), *frames[1:]])

    def control(self, source: bytes, target: bytes, frames: list[Any]) -> None:
        """A message from or to the broker's control socket."""
        self.net.send(source, target, "control", [b"\x02" + bytes(frames[0]), *frames[1:]])

    # -- what happens -------------------------------------------------------------------------
    def _job(self, stages: list[type[Stage]]) -> None:
        job = self.fresh()
        roots: list[int] | int
        if self.rng.random() < 0.7:
            roots = [self.rng.randrange(10_000) for _ in range(self.rng.choice([0, 1, 7, 60, 200]))]
        else:
            roots = self.rng.randrange(10_000)
        self.expected[job] = _in_one_process(stages, roots)
        self.later(self.rng.random(), lambda: self.client.submit(job, self.name, roots))

    def _kill(self) -> None:
        """One worker dies; its node sees that, tells the broker, and starts another."""
        if not self.workers:
            return  # all are being started again
        victim = self.rng.choice(self.workers)
        victim.alive = False
        self.deaths += 1
        self.workers.remove(victim)
        del self.net.receivers[victim.incarnation]
        del self.actors[victim.incarnation]
        self.later(0.01, lambda: self.broker.lost(victim.incarnation))
        self.later(
            0.05 + self.rng.random() * 0.5, lambda: self.workers.append(SimWorker(self, *victim.place))
        )

    def run(self, limit: float = 120.0) -> None:
        """Until all jobs are done and everything has come to rest.

        Raises:
            AssertionError: an invariant is broken, results are wrong, or it does not come to rest.
        """
        self._tick()
        rest_at: float | None = None
        steps = 0
        while True:
            assert self.clock.step(), "nothing happens any more"
            steps += 1
            if steps % 20 == 0:
                self.check()
            if (
                rest_at is None
                and self._done()
                and self.now > self.net.faults.until * (self.net.faults.drop > 0)
            ):
                rest_at = self.now + 4.0
            if rest_at is not None and self.now > rest_at:
                break
            assert self.now < limit, self.story("it does not end")
        self.check()
        self._check_results()
        self._check_rest()

    def _tick(self) -> None:
        """Every 5 ms, whoever is due gets his tick."""
        for actor in list(self.actors.values()):
            due = actor.machine.deadline()
            if due is not None and due <= self.now:
                actor.tick()
        self.later(0.005, self._tick)

    def _done(self) -> bool:
        return all(
            job in self.client.streams and self.client.streams[job].complete for job in self.expected
        ) and all(job.state == "done" for job in self.broker.machine.jobs.values())

    def check(self) -> None:
        """Every invariant of every machine."""
        for actor in self.actors.values():
            actor.machine.check()
        for job, got in self.client.got.items():
            assert got == self.expected[job][: len(got)], self.story(f"wrong results of job {job!r}")

    def _check_results(self) -> None:
        for job, expected in self.expected.items():
            assert self.client.got[job] == expected, self.story(f"wrong results of job {job!r}")

    def _check_rest(self) -> None:
        """At rest nothing is retained, held, or owed, and all credit is back."""
        senders = [self.broker, *self.workers]
        for actor in senders:
            outlet = actor.machine.outlet
            assert outlet.idle, self.story("something is retained")
            for peer, link in outlet.links.items():
                receiver = self.actors[peer].machine.inlet.links.get(actor.machine.me)
                if link.sent:
                    assert receiver is not None and receiver.received == link.sent
                    assert receiver.acked == link.sent and link.acked == link.sent
                    assert receiver.window.left_tasks == link.tasks_sent, self.story("credit is not whole")
        for worker in self.workers:
            assert worker.machine.idle, self.story("a worker holds something")
            assert not worker.machine.jobs, self.story("a worker remembers an ended job")
        for sink in self.sinks:
            assert sink.machine.idle

    def story(self, what: str) -> str:
        """What to print of a world that failed."""
        jobs = [self.broker.machine.status(job) for job in self.broker.machine.jobs.values()]
        states = [(j["state"], j["epoch"], j["waiting"]) for j in jobs]
        return (
            f"seed {self.seed}: {what} at {self.now:.3f} s; pipeline {self.name}, {self.deaths} deaths, "
            f"{self.net.lost} of {self.net.carried + self.net.lost} messages lost; jobs {states}; "
            f"replay: python -m tests.sim {self.seed}"
        )


def _in_one_process(stages: list[type[Stage]], roots: list[int] | int) -> list[Any]:
    """What debug mode gives: the oracle."""
    source: list[type[Stage]] = stages
    if isinstance(roots, list):
        values = list(roots)

        class Roots(Stage):
            def process(self, task: Task) -> Any:
                return (Task(value) for value in values)

        source = [Roots, *stages]
    pipeline = DebugPipeline(
        source, names=[f"s{i - (len(source) - len(stages))}" for i in range(len(source))]
    )
    out: list[Any] = []
    for task in pipeline.run(Task(roots if isinstance(roots, int) else 0)):
        if task.success:
            out.append(task.content)
        else:
            fields = task.meta["zturbo"]
            out.append((fields["stage"], fields["type"], fields["message"]))
    return out
