"""The worker's process: user code in the main thread; sockets and the machine in that thread while it has no
work, and else in an I/O thread.

So statements and views go on while ``process()`` runs for an hour. A node starts this process, see
:mod:`zturbo.runtime.node.children`.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn

from zturbo.api.stage import Stage
from zturbo.core.effects import Control, EndJob, Exit, Meet, Reclaim, Run, Send, Spill, Work
from zturbo.core.links.choice import FANOUT
from zturbo.core.worker.machine import WorkerMachine
from zturbo.core.worker.produced import Produced
from zturbo.errors import StartError
from zturbo.errortext import render
from zturbo.hardware.binding import ordinal_hint
from zturbo.hardware.resources import Resources
from zturbo.runtime.code.batching import BatchRunner
from zturbo.runtime.code.cutting import cut_short
from zturbo.runtime.code.fingerprint import fingerprint
from zturbo.runtime.code.importing import build_stage, load_class
from zturbo.runtime.code.laps import Laps, Pressure
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.recorder import Recorder
from zturbo.runtime.code.runner import Runner
from zturbo.runtime.code.stagehost import StageHost
from zturbo.runtime.disk.spill import SpillFile
from zturbo.runtime.members.codethread import CodeThread
from zturbo.runtime.members.dump import dump, links
from zturbo.runtime.members.measuring import micro
from zturbo.runtime.members.member import MemberLoop, start_member
from zturbo.runtime.process.childside import ChildSide
from zturbo.runtime.process.descriptors import LOST_DESCRIPTORS, Descriptors, opened
from zturbo.runtime.process.forked import part_on_fork
from zturbo.runtime.process.prints import Prints
from zturbo.runtime.process.ringfile import RingFile
from zturbo.runtime.process.stackfile import also_answer
from zturbo.runtime.process.usage import memory_of_this_process
from zturbo.telemetry.ring import Ring
from zturbo.wire.codec import BadBatch
from zturbo.wire.control import to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.report import Report
from zturbo.wire.control.view import Member
from zturbo.wire.extensions import Encoder
from zturbo.wire.messages import DataMessage, Path
from zturbo.wire.payload import unpack_one

if TYPE_CHECKING:
    from zturbo.runtime.code.overlapping import AsyncRunner

__all__ = ["WorkerProcess", "main", "make_worker", "serve"]

log = logging.getLogger("zturbo.worker")

DRAIN = 2.0
"""Seconds in which a worker that is told to stop may finish its tasks."""

IDLE_LOOK = 0.02
"""Seconds between two looks whether a worker that is told to stop has finished."""

LAST_WORDS = 0.1
"""Seconds that a drained worker stays after its last message: its last acks have to arrive before the view
without it."""

LEAVE = 1.0
"""Seconds that a task may go on after this worker has left; then the process ends all the same."""

EXIT = 2.0
"""Seconds that threads and ``atexit`` hooks of the stage's code may take at this process's end."""

STEAL_AFTER, STEAL_MAX = 0.004, 0.064
"""If the code's thread gives nothing for so many seconds, the I/O thread takes finished outputs itself:
first, and longest."""


class WorkerProcess:
    """The shell of one worker.

    Args:
        loop: its sockets.
        host: its stage.
        pipeline: name of the pipeline.
        stages: how many stages that has.
        max_task_bytes: bytes that one output may have.
        task_timeout: seconds that a task of an ``async def`` stage may take; the node ends other tasks.
        ring: where its trace goes; None for no trace.
        peers: workers of the next stage that it has links to at most; None for no bound.
    """

    def __init__(
        self,
        loop: MemberLoop,
        host: StageHost,
        *,
        pipeline: str,
        stages: int,
        max_task_bytes: int,
        task_timeout: float | None = None,
        ring: Ring | None = None,
        peers: int | None = None,
    ) -> None:
        self.loop = loop
        self.machine = WorkerMachine(
            loop.incarnation,
            pipeline=pipeline,
            stage=host.context.index,
            stages=stages,
            ordered=host.ordered,
            host=loop.host,
            batch=host.batch,
            batch_wait=host.batch_wait,
            concurrency=host.concurrency,
            fanout=FANOUT if peers is None else peers,
            bounded=peers is not None,
        )
        self.machine.rounds.together = True
        loop.member = Member(
            loop.incarnation,
            "worker",
            pipeline,
            host.context.index,
            loop.host,
            tuple(loop.inbox.endpoints),
            slots=host.slots if host.ordered else 0,
            ordered=host.ordered,
            deterministic=host.deterministic,
            stateful=host.stateful,
        )
        self.spill = SpillFile(loop.folder / "spill")
        self.epochs: dict[bytes, int] = {}
        self._pressure = Pressure()
        self._laps = Laps(self._pressure.total)
        self.code = CodeThread(
            loop.stage,
            loop,
            turn=self._round,
            go_on=self._go_on,
            take=self._take,
            pressed=lambda: self.machine.senders.pressed,
            epochs=self.epochs,
            laps=self._laps,
        )
        self._overlapping: AsyncRunner | None = None
        """The runner, if the stage is ``async def``; else None."""
        self.runner = self._make_runner(host, max_task_bytes, task_timeout)
        loop.forwarder.current = self._current
        if ring is not None:
            production = self.runner.production
            self._laps.recorder = Recorder(
                ring,
                perf_counter(),
                lambda: production.finished + production.tasks + production.out.finished,
                lambda: production.failed + len(production.out.fails) - production.out.passing,
                memory_of_this_process,
            )
        self._drain_until: float | None = None
        self._look_at = 0.0
        """When a worker that drains next looks whether it has finished."""
        self._leave_at: float | None = None
        self._worked_at = 0.0
        """When a peer's message or an output last came."""
        self._steal_at = 0.0
        self._steal_delay = STEAL_AFTER
        self._running_note = host.context.running_note
        self._context = host.context

    def _make_runner(
        self, host: StageHost, max_bytes: int, timeout: float | None
    ) -> Runner | BatchRunner | AsyncRunner:
        current = self.epochs.get
        if host.concurrency:
            from zturbo.runtime.code.overlapping import AsyncRunner

            production = Production(host, self.code.post, current, max_bytes, self._laps)
            self._overlapping = AsyncRunner(production, free=self.code.free, timeout=timeout)
            return self._overlapping
        kind = BatchRunner if host.batch else Runner
        return kind(Production(host, self.code.give, current, max_bytes, self._laps))

    @property
    def coroutine_stacks(self) -> Callable[[], str] | None:
        """Tells where the coroutines of its tasks stand; None if the stage is not ``async def``."""
        return None if self._overlapping is None else self._overlapping.stacks

    def _current(self) -> tuple[bytes, Path]:
        """Job and path of the task that runs in the user's thread. If many run at a time, the job alone; none
        while that thread runs the loop."""
        if self.code.lead.by_code:
            return b"", ()
        running = self._running_note.read()
        if len(running) == 1:
            return running[0].job, running[0].path
        jobs = {run.job for run in running}
        return (jobs.pop() if len(jobs) == 1 else self.runner.production.job if not jobs else b""), ()

    # -- the loop -----------------------------------------------------------------------------
    def _take(self, given: list[Produced], now: float) -> None:
        self._worked_at = now
        self._steal_delay = STEAL_AFTER
        self._steal_at = now + STEAL_AFTER
        self._produced(given, now)

    def _produced(self, given: list[Produced], now: float) -> None:
        for produced in given:
            self.machine.produced(produced, now)

    def control(self, message: Message, now: float) -> None:
        """Take a message of the broker."""
        self.machine.control(message, now)

    def data(self, message: DataMessage, now: float) -> None:
        """Take a message of a peer."""
        self._worked_at = now
        self.machine.data(message, now)

    def unreadable(self, bad: BadBatch, now: float) -> None:
        """Take note of a batch that cannot be read."""
        self.machine.unreadable(bad, now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        due = self.machine.deadline()
        if self.machine.feed.handed and (due is None or self._steal_at < due):
            due = self._steal_at
        if self._drain_until is not None:
            last = min(self._drain_until, self._leave_at or self._look_at)
            due = last if due is None else min(due, last)
        return due

    def progress(self) -> to_broker.Progress:
        """Its counts of the jobs that are here."""
        return self.machine.progress()

    def known(self, after: int, most: int) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of so many jobs here, after so many others."""
        return self.machine.known(after, most)

    def measured(self) -> Report:
        """What it has measured of itself."""
        production, waits = self.runner.production, self.machine.feed.waits
        code, waited, held, own = map(micro, self._laps.read())
        waiting, running, pending = self.machine.load()
        return Report(
            clock=0,
            code=code,
            input=waited,
            held=held,
            own=own,
            tasks=production.finished,
            outputs=production.given,
            failed=production.failed,
            waiting=waiting,
            running=running,
            pending=pending,
            times=production.times.trimmed(),
            waits=waits.trimmed(),
            waited=micro(waits.seconds),
        )

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.machine.tick(now)
        if self.machine.feed.handed and now >= self._steal_at:
            self._steal(now)
        if self._drain_until is None:
            return
        self._look_at = now + IDLE_LOOK
        if not self.machine.idle:
            self._leave_at = None
        elif self._leave_at is None:
            self._leave_at = self._worked_at + LAST_WORDS
        if now >= self._drain_until or (self._leave_at is not None and now >= self._leave_at):
            for last in self.machine.ended.say(math.inf):
                self.loop.tell(last.message)
            self.loop.leave(self)

    def _steal(self, now: float) -> None:
        """A task runs for long: send the outputs that were finished before it."""
        self._running_note.seen(now)
        stolen = not self.code.lead.by_code and self.runner.steal(lambda given: self._produced(given, now))
        self._steal_delay = STEAL_AFTER if stolen else min(STEAL_MAX, 2 * self._steal_delay)
        self._steal_at = now + self._steal_delay

    def perform(self, now: float) -> None:
        """Carry out the machine's effects."""
        effects, rounds = self.machine.effects, self.machine.rounds
        while effects or rounds.due:
            rounds.end(now)
            todo = list(effects)
            effects.clear()
            for effect in todo:
                if isinstance(effect, Send):
                    self.loop.send(effect.peer, effect.message)
                elif isinstance(effect, Meet):
                    self.loop.peers.meet(effect.members, now)
                elif isinstance(effect, Run):
                    work = effect.work
                    self.epochs[work.job] = work.epoch
                    for batch, _, _ in work.pieces:
                        self.spill.restore(batch)
                    if self._steal_at <= now:  # the code had nothing to do
                        self._steal_at = now + self._steal_delay
                    self._hand(work)
                elif isinstance(effect, Reclaim):
                    self.machine.reclaimed(effect.work, cut_short(effect.work), now)
                elif isinstance(effect, EndJob):
                    self.epochs.pop(effect.job, None)
                    self.spill.forget(effect.job)
                    self._hand(effect)
                elif isinstance(effect, Spill):
                    self.spill.put(effect.batch)
                elif isinstance(effect, Control):
                    self.loop.tell(effect.message)
                elif isinstance(effect, Exit):
                    self.loop.refused = effect.reason
                    self.loop.stopping = True
        self._pressure.note(self.machine.senders.pressed, now)
        if self.code.make_room():
            self._wake()

    def _hand(self, item: Work | EndJob) -> None:
        self.code.works.put(item)
        self._wake()

    def _wake(self) -> None:
        if self._overlapping is not None:
            self._overlapping.wake()

    def drain(self, now: float) -> None:
        """Finish the tasks that run, for :data:`DRAIN` seconds at most, then leave."""
        if self._drain_until is None:
            self._drain_until, self._look_at = now + DRAIN, now
            self.machine.drain(now)

    def dump(self, now: float) -> None:
        """Write the state of this worker to the log."""
        machine = self.machine
        queued, custody = machine.feed.queue.tasks, len(machine.arrivals.custody)
        state: dict[str, Any] = {"queued": queued, "custody": custody, "idle": machine.idle}
        state = {**state, **links(machine.receivers, machine.senders), **self.loop.dropped()}
        dump(self.loop.stage, machine.me, state)

    def _round(self, longest: float) -> None:
        """A round of the loop, in whichever thread leads."""
        try:
            self.loop.round(self, longest)
        except BaseException:
            self._give_up()

    def _go_on(self) -> None:
        """Do what was handed over by the code's thread, which leads."""
        try:
            self.loop.go_on(self)
        except BaseException:
            self._give_up()

    def _give_up(self) -> NoReturn:
        descriptors = self._context.descriptors
        if descriptors is not None and not descriptors.there():
            os._exit(LOST_DESCRIPTORS)
        log.exception("the loop of %s failed", self.loop.stage)
        os._exit(1)  # at once: the running task stays noted, since it may be the cause

    def run_loop(self) -> None:
        """The I/O thread."""
        try:
            self.code.lead.follow()
        finally:
            self.loop.stopping = True
            self.code.stop()
            self._wake()
            if not self.code.wait(LEAVE):
                # The task that still runs here has gone to another worker.
                self._running_note.end()
                self.loop.close()
                os._exit(self.loop.status)


def build(spec: dict[str, Any]) -> Callable[[], Stage]:
    """The factory of the stage's instances: of the class that the spec names, or pickled by ``System``."""
    if "pickled" in spec:
        from zturbo.runtime.code.shipping import unpack_stage

        return unpack_stage(spec["pickled"])
    cls = load_class(spec["class"])
    own = spec.get("resources") or {}
    resources = Resources(own if {"cpu", "gpu"} <= own.keys() else {**Resources().resources, **own})

    def make() -> Stage:
        stage = build_stage(cls, unpack_one(spec["args"], []), resources)
        stage.resource_allocation, stage.current_resource = None, resources
        return stage

    return make


def make_worker(side: ChildSide) -> WorkerProcess:
    """The worker that the spec describes. Its stage is made here, and its ``init()`` is called."""
    spec = side.spec
    part_on_fork(side.running_note, side.handlers)
    factory = build(spec)
    # A System's stages are pickled, and two runs of it may import other modules for the same stage.
    code = fingerprint(spec["class"].partition(":")[0].partition(".")[0]) if "class" in spec else ""
    host = StageHost(
        factory,
        name=spec["stage"],
        index=spec["index"],
        worker_id=spec["worker_id"],
        host=spec["host"],
    )
    host.context.running_note = side.running_note
    before = opened()
    loop = start_member(side, spec["stage"])
    loop.on_lost = lambda: os._exit(LOST_DESCRIPTORS)
    loop.code = code
    worker = WorkerProcess(
        loop,
        host,
        pipeline=spec["pipeline"],
        stages=spec["stages"],
        max_task_bytes=spec["max_task_bytes"],
        task_timeout=spec.get("task_timeout"),
        ring=RingFile(spec["ring_fd"]).ring() if "ring_fd" in spec else None,
        peers=spec.get("peers"),
    )
    coroutines = host.instances.coroutines
    of_loop = coroutines.fds if coroutines is not None else frozenset[int]()
    if loop.shared is not None:
        Encoder.keeper = loop.shared
    host.context.descriptors = Descriptors(opened() - before, of_loop)
    return worker


def serve(
    worker: WorkerProcess,
    side: ChildSide,
    name: str,
    ready: Callable[[], None],
    *,
    leave: tuple[type[BaseException], ...] = (),
) -> int:
    """Run a worker's code in this thread and its sockets in another, until it is told to stop.

    Args:
        worker: the worker.
        side: its side of being a child; it has the spec.
        name: ``pipeline.stage``, for people.
        ready: called once it runs.
        leave: exceptions that end the code, in a process that owns its terminal.

    Returns:
        The exit status.
    """
    loop = worker.loop
    worker.runner.host.context.through += leave
    worker.code.may_lead = not leave
    worker.code.handlers = side.handlers
    loop.begin()
    if (coroutines := worker.coroutine_stacks) is not None:
        also_answer(coroutines)
    side.handle(signal.SIGTERM, lambda: loop.post(worker.drain))
    side.handle(signal.SIGUSR1, lambda: loop.post(worker.dump))
    side.on_stop = lambda: loop.post(worker.drain)
    sys.setswitchinterval(0.001)
    thread = threading.Thread(target=worker.run_loop, name="io", daemon=True)
    thread.start()
    ready()
    status = 0
    try:
        worker.code.run(worker.runner)
    except leave:
        status = 130
        loop.post(worker.drain)
    except BaseException as error:  # a bug of zturbo, or no memory: at once, so that the task stays noted
        log.critical("%s cannot go on\n%s", name, render(error).traceback)
        os._exit(1)
    thread.join(timeout=5)
    if not thread.is_alive():
        loop.close()
    if loop.refused:
        print(f"zturbo: {name}: {loop.refused}", file=sys.stderr)  # noqa: T201 - it has no logger yet
        return loop.status
    return status


def main() -> int:
    """Run the worker that the spec on stdin describes. Returns the exit status."""
    side = ChildSide.open()
    name = f"{side.spec['pipeline']}.{side.spec['stage']}"
    prints = Prints(side.spec.get("logs"), f"{name}-{side.spec['host']}".replace("/", "_"))
    prints.begin()
    try:
        worker = make_worker(side)
        prints.go_on(worker.loop.forwarder, worker.loop.forwarder.current)
        if prints.problem:
            log.warning("%s", prints.problem)
    except BaseException as error:
        return _end_soon(side.failed(error, name, ordinal_hint(error, side.spec.get("resources"))))
    return _end_soon(serve(worker, side, name, side.ready))


def _end_soon(status: int) -> int:
    """Give threads and ``atexit`` hooks of the stage's code some time. Returns the status."""
    try:
        last = threading.Timer(EXIT, os._exit, (status,))
        last.daemon = True
        last.start()
    except Exception:  # this process cannot start a thread any more
        os._exit(status)
    return status


if __name__ == "__main__":
    try:
        status = main()
    except StartError as failure:
        sys.exit(str(failure))
    sys.exit(status)
