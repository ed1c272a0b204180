"""The node: the parent of all processes that one command starts on a host. It runs no user code.

It starts children, sees at once when one exits (pidfd), tells the broker, and starts it again. It renews the
leases of children that the kernel does not show as stopped or dead. It ends a worker whose task runs longer
than the stage's ``task_timeout``, and a worker that goes on with a task of a job that has ended.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq

from zturbo.core.restarts import STABLE, Restarts
from zturbo.errors import DecodeError, StartError
from zturbo.errortext import error_text
from zturbo.runtime.disk.folders import lock_folder, runtime_dir, sweep_runtime_dirs
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.guard import Guard
from zturbo.runtime.net.host import zone_of
from zturbo.runtime.net.keys import Security
from zturbo.runtime.net.limits import new_context
from zturbo.runtime.net.routes import own_identity
from zturbo.runtime.net.sockets import Dealer, make, send_frames
from zturbo.runtime.node.brokerwatch import BrokerWatch
from zturbo.runtime.node.children import Child, ChildSpec
from zturbo.runtime.node.forking import Forking
from zturbo.runtime.node.gpus import GpuWatch
from zturbo.runtime.node.looking import Looking, wall
from zturbo.runtime.node.reaching import Reaching
from zturbo.runtime.process.childside import REFUSED, UNFIT
from zturbo.runtime.process.posted import Posted
from zturbo.runtime.process.running import Running
from zturbo.runtime.shared import folder as shared
from zturbo.runtime.shared.kept import AbandonedContents
from zturbo.telemetry.seen import Traced
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import MAX_ANSWER, pack_control, read_answer
from zturbo.wire.control.message import Message, Request
from zturbo.wire.control.to_broker import Cause

__all__ = ["Node", "Seat"]

log = logging.getLogger("zturbo.node")

STOP_AFTER = 5.0
"""Seconds that children have to stop before they are killed."""

CANCEL_AFTER = 0.5
"""Seconds that a running task of an ended job may go on before its worker is ended."""

LOOK_EVERY = 0.1
"""Seconds between two looks at the tasks that run, while any has a time limit."""

SWEEP_EVERY = 5.0
"""Seconds between two looks for shared memory of processes that have died, such as clients."""

GRACE = 0.5
"""Seconds more, in which a worker that runs many tasks at a time may end one of them by itself."""

REPORTED = 1000
"""Tasks that the report of a death names at most."""

REPEAT = 1.0
"""Seconds after which a report that the broker has not confirmed is repeated."""

ROUND = 256
"""Control messages read in one round at most."""

OnEvent = Callable[[str, Child, str], None]


class Seat:
    """A seat for a child, and the child in it."""

    def __init__(self, what: ChildSpec) -> None:
        self.what = what
        self.restarts = Restarts()
        self.child: Child | None = None
        self.start_at: float | None = 0.0
        self.ready_at = 0.0
        """When its child was ready."""
        self.leaving = False
        """Whether it is not to be started again."""
        self.since: dict[int, float] = {}
        """Serial number of a task that ran at the last look -> when it was first seen."""
        self.guilty: list[Running] = []
        """The tasks for which the child was ended."""
        self.before: Traced | None = None
        """The trace of the child before."""

    def overdue(self, now: float, ended: dict[bytes, float]) -> Cause:
        """Why to end the child now for a running task: ``timeout``, ``cancelled``; empty for no reason.

        Args:
            now: the time.
            ended: job that has ended -> when its tasks have to be gone.
        """
        child = self.child
        limit = self.what.spec.get("task_timeout")
        if child is None or not (limit or ended):
            return ""
        running = child.running_note.read()
        since = self.since = {run.serial: self.since.get(run.serial, now) for run in running}
        self.guilty = [run for run in running if self._is_void(run, now, ended)]
        if self.guilty:
            return "cancelled"
        if limit:
            grace = GRACE if running and running[0].beside else 0.0
            self.guilty = [run for run in running if now - since[run.serial] > limit + grace]
        return "timeout" if self.guilty else ""

    def _is_void(self, run: Running, now: float, ended: dict[bytes, float]) -> bool:
        grace = GRACE if run.beside else 0.0
        due = max(ended.get(run.job, math.inf), self.since[run.serial] + CANCEL_AFTER)
        return now >= due + grace


class Node:
    """Starts and watches children.

    Args:
        broker: the broker's control address.
        host: name of this host.
        lease: seconds after which the broker takes a member for dead, if its lease is not renewed.
        on_event: called with ``started``, ``ready``, ``joined``, ``failed`` or ``exited``, the child, and a
            text; with ``unfit`` in place of ``exited`` if the child can never join and is not started again.
        env: environment of the children.
        broker_first: let the other children connect once the node's own broker is ready. If the address of
            this broker is in use, another broker is there, and no child of this node is to join that one.
            Some of them are started before, so that they import their modules while the broker starts; one
            worker loads its stage's code, too.
        output: descriptor of the children's stdout and stderr; None for this process's.
        security: the keys of this node, if there are keys; its children are told of their file.
        forking: forks its children; None to start each as a program.
    """

    def __init__(
        self,
        broker: str,
        *,
        host: str,
        lease: float = 5.0,
        on_event: OnEvent | None = None,
        env: dict[str, str] | None = None,
        output: int | None = None,
        security: Security | None = None,
        broker_first: bool = False,
        forking: Forking | None = None,
    ) -> None:
        self.id = os.urandom(16)
        self.broker = broker
        self.host = host
        self._lease = lease
        self._on_event = on_event
        self._env = env
        self._output = output
        self._forking = forking
        self._keys = None if security is None else security.path
        self.folder = runtime_dir()
        self._held = lock_folder(self.folder)
        sweep_runtime_dirs(self.folder)
        self.seats: list[Seat] = []
        self._context = new_context()
        self._arrivals = Arrivals()
        self._control = make(
            self._context,
            zmq.DEALER,
            connect=broker,
            identity=own_identity(self.id, secured=security is not None and broker.startswith("tcp:")),
            security=security,
            arrivals=self._arrivals,
            longest=MAX_ANSWER,
        )
        self._guard = Guard(log)
        self._reports: dict[int, tuple[list[Any], float]] = {}
        self._ref = 0
        self._renew_at = self._sweep_at = self._look_at = 0.0
        self._abandoned = AbandonedContents()
        self._watch = BrokerWatch(broker, lease)
        self._wait_for_bind = broker_first
        self._early = len(os.sched_getaffinity(0)) - 1
        """Children that are started before the broker is ready, at most: it keeps a CPU to itself."""
        self._ended: dict[bytes, float] = {}
        """Job that has ended, whose tasks may still run -> when they have to be gone."""
        self._stop_at: float | None = None
        self._posted = Posted()
        self._looking = Looking(self.id, self._seat_of, lambda seen: self._send(pack_control(seen)))
        self._reaching = Reaching(self.id, lambda seen: self._send(pack_control(seen)), zone_of(broker))
        self._gpus = GpuWatch()
        self.stopping = False
        self._kill = False

    def add(self, what: ChildSpec) -> None:
        """Add a child."""
        what.spec.setdefault("node", self.id)
        what.spec.setdefault("host", self.host)
        what.spec.setdefault("broker", self.broker)
        what.spec.setdefault("role", what.role)
        if self._keys is not None and what.role != "broker":
            what.spec.setdefault("keys", self._keys)
        self.seats.append(Seat(what))

    def remove(self, what: ChildSpec) -> None:
        """Take a child out: it drains and leaves, and is not started again."""
        for seat in self.seats:
            if seat.what is what:
                seat.leaving = True
                seat.start_at = None
                if seat.child is not None:
                    seat.child.stop()

    @property
    def children(self) -> list[Child]:
        """The children that run."""
        return [seat.child for seat in self.seats if seat.child is not None]

    @property
    def over(self) -> bool:
        """Whether no child runs, and none will be started again."""
        return all(seat.child is None and seat.leaving for seat in self.seats)

    @property
    def ready(self) -> bool:
        """Whether each seat has a child that is ready."""
        return all(seat.child is not None and seat.child.is_ready for seat in self.seats)

    def _seat_of(self, incarnation: bytes) -> tuple[Child, Traced | None] | None:
        """A child, and the trace of the one before it at its place."""
        for seat in self.seats:
            if seat.child is not None and seat.child.incarnation == incarnation:
                return seat.child, seat.before
        return None

    def wake(self) -> None:
        """Let :meth:`run` look at once for children to start. Safe in a signal handler."""
        self._posted.wake()

    def stop(self) -> None:
        """End the children; the second call kills them. Safe in a signal handler."""
        if self.stopping:
            self._kill = True
        self.stopping = True
        self.wake()

    # -- the loop -----------------------------------------------------------------------------
    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Run until :meth:`stop` has ended all children, or until ``until()``, asked each round, is true."""
        while True:
            now = time.monotonic()
            if self.stopping and self._stop_children(now):
                return
            if until is not None and until():
                return
            if not self.stopping:
                self._start_due(now)
            self._talk(now)
            self._wait(now)
            self._look()

    def _wait(self, now: float) -> None:
        poller = zmq.Poller()
        poller.register(self._control, zmq.POLLIN)
        poller.register(self._posted.fd, zmq.POLLIN)
        for child in self.children:
            poller.register(child.pidfd, zmq.POLLIN)
            if not child.reports_over:
                poller.register(child.ready_fd, zmq.POLLIN)
        limited = self._ended or any(seat.what.spec.get("task_timeout") for seat in self.seats)
        reports = (due for _, due in self._reports.values())
        looks = min(self._looking.deadline(), self._reaching.deadline())
        until = min(self._renew_at, self._look_at, self._arrivals.look(now), looks, *reports)
        if limited:
            until = min(until, now + LOOK_EVERY)
        if self._stop_at is not None and now < self._stop_at:
            until = min(until, self._stop_at)
        for seat in self.seats:
            if seat.child is None and seat.start_at is not None and not self.stopping:
                until = min(until, seat.start_at)
        poller.poll(math.ceil(max(0.0, until - now) * 1000))
        self._posted.read()

    def _start_due(self, now: float) -> None:
        """Start children. Before the broker is ready, so many are started as there are CPUs for. One of them,
        a worker, loads its stage's code meanwhile."""
        seats, first = self.seats, None
        if self._wait_for_bind:
            first = next((seat for seat in seats if seat.what.role == "worker"), None)
            seats = sorted(seats, key=lambda seat: seat is not first)
            early = [seat for seat in seats if seat.what.role != "broker"][: self._early]
            seats = [seat for seat in seats if seat.what.role == "broker" or seat in early]
        for seat in seats:
            if seat.child is None and seat.start_at is not None and now >= seat.start_at:
                self._start(seat, now)
            waits = self._wait_for_bind and seat is not first and seat.what.role != "broker"
            if seat.child is not None and seat.child.waits and not waits:
                seat.child.begin(early=seat is first)
                self._tell("started", seat.child, "")
            elif seat.child is not None and seat.child.early and not self._wait_for_bind:
                seat.child.go()

    def _start(self, seat: Seat, now: float) -> None:
        incarnation = os.urandom(16)
        seat.what.spec["folder"] = str(self.folder / incarnation.hex()[:8])
        try:
            seat.child = Child(seat.what, incarnation, self._env, self._output, self._forking)
        except (OSError, MemoryError) as error:
            self._no_room(seat, incarnation, error, now)

    def _no_room(self, seat: Seat, incarnation: bytes, error: BaseException, now: float) -> None:
        """Go on without a child for which this host has no room, and try again later.

        Raises:
            StartError: no child has been ready yet, so there is nothing to go on with.
        """
        name = seat.what.name
        text = f"no process can be started for {name}: {error_text(error, 300)}; 'ulimit -a' tells the limits"
        if not any(other.ready_at for other in self.seats):
            raise StartError(text) from None
        seat.start_at = now + seat.restarts.died(lived=0.0, started=False)
        log.error("%s; it is tried again", text)
        if seat.what.role == "worker":
            self._report_failed(name, incarnation, text, "")

    def _look(self) -> None:
        now = time.monotonic()
        for seat in self.seats:
            child = seat.child
            if child is None:
                continue
            if not child.cause and (cause := seat.overdue(now, self._ended)):
                child.cause = cause
                child.signal(signal.SIGKILL)
            for kind in child.read_reports():
                if kind == "ready":
                    self._wait_for_bind = self._wait_for_bind and child.what.role != "broker"
                    seat.ready_at = now
                elif kind == "joined":
                    self._watch.heard(now)
                if kind == "failed":
                    self._failed(seat, child)
                else:
                    self._tell(kind, child, "")
            code = child.exited()
            if code is not None:
                if "failed" in child.read_reports():
                    self._failed(seat, child)
                self._exited(seat, child, code)
        self._looking.tick(now)
        self._reaching.tick(now)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY
            shared.sweep()
            self._abandoned.look(now)
        for job, at in list(self._ended.items()):
            if now > at + 10 * CANCEL_AFTER:
                del self._ended[job]

    def _failed(self, seat: Seat, child: Child) -> None:
        self._tell("failed", child, child.error or "")
        again = "; it is tried again every 30 s" if seat.restarts.breaking else ""
        if child.what.role == "worker":
            self._report_failed(
                child.what.name, child.incarnation, f"{child.error or ''}{again}", child.traceback
            )

    def _report_failed(self, stage: str, incarnation: bytes, error: str, traceback: str) -> None:
        self._report(
            to_broker.StartFailed(
                node=self.id, incarnation=incarnation, who=stage, error=error, traceback=traceback
            )
        )

    def _exited(self, seat: Seat, child: Child, code: int) -> None:
        text = child.describe_exit(code)
        is_worker = child.what.role == "worker"
        running = child.running_note.read() if is_worker else []
        last = child.running_note.last() if is_worker else []
        if child.cause in ("timeout", "cancelled"):
            serials = {run.serial for run in seat.guilty}
            running = [run for run in running if run.serial in serials]
        seat.since, seat.guilty = {}, []
        if not child.is_ready and child.error is None and not self.stopping:
            child.error = f"{child.what.name} died before it was ready: {text}"
            self._failed(seat, child)
        cause = child.cause or ("stopped" if child.info.get("stopping") else "")
        if not (cause or running) and last:
            cause, running = "between", last
        self._report(
            to_broker.Exited(
                node=self.id,
                incarnation=child.incarnation,
                code=code,
                text=text,
                who=f"{child.what.name} (process {child.pid} on {self.host})",
                cause=cause,
                running=tuple((run.job, run.epoch, run.path, run.given) for run in running[:REPORTED]),
            )
        )
        self._looking.gone(child)
        if is_worker and child.is_ready:
            ring = child.ring.packed()
            seat.before = Traced(child.pid, child.incarnation, wall(), text, ring)
        child.close()
        shutil.rmtree(seat.what.spec["folder"], ignore_errors=True)
        shared.remove(child.incarnation)
        if child.what.role == "broker":  # it has its folder under another name
            shared.sweep()
        seat.child = None
        now = time.monotonic()
        seat.leaving = seat.leaving or code == UNFIT
        if self.stopping or seat.leaving:
            seat.start_at = None
        else:
            worked = (
                not is_worker or code == REFUSED or bool(running or last) or now - seat.ready_at >= STABLE
            )
            wait = seat.restarts.died(lived=now - child.started, started=child.is_ready, worked=worked)
            seat.start_at = now + wait
            if seat.restarts.useless:
                child.error = f"{child.what.name} died before it ran a task, again and again: {text}"
                self._failed(seat, child)
            if seat.restarts.broken:
                text += "; it does not start, and is tried again every 30 s"
        self._tell("unfit" if code == UNFIT else "exited", child, text)

    def _tell(self, kind: str, child: Child, text: str) -> None:
        if self._on_event is not None:
            self._on_event(kind, child, text)

    # -- stopping -----------------------------------------------------------------------------
    def _stop_children(self, now: float) -> bool:
        """Stop the children. Returns whether all are gone.

        The broker is the last to stop, so that it hears of the ends of the others.
        """
        alive = self.children
        if not alive:
            return True
        if self._stop_at is None:
            self._stop_at = now + STOP_AFTER
        first = [child for child in alive if child.what.role != "broker"] or alive
        for child in first:
            if self._kill or now > self._stop_at:
                child.signal(signal.SIGKILL)
            elif not child.info.get("stopping"):
                child.info["stopping"] = True
                child.stop()
                self._stop_at = now + STOP_AFTER
        return False

    def close(self) -> None:
        """Close the sockets. All children must be gone."""
        self._gpus.close()
        self._arrivals.forget()
        self._control.close()
        self._context.term()
        self._posted.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)

    # -- the broker ---------------------------------------------------------------------------
    def _send(self, frames: list[Any]) -> None:
        try:
            send_frames(self._control, frames)
        except zmq.Again:
            log.debug("the broker is not there")

    def _report(self, message: Request[None]) -> None:
        self._ref += 1
        frames = pack_control(message.but(ref=self._ref))
        self._reports[self._ref] = (frames, time.monotonic() + REPEAT)
        self._send(frames)

    def _talk(self, now: float) -> None:
        for _ in range(ROUND):
            try:
                frames = self._arrivals.receive(self._control)
            except zmq.Again:
                break
            try:
                self._obey(read_answer([frame.buffer for frame in frames]))
            except DecodeError as error:
                log.debug("dropped a message: %s", error)
            except Exception as error:  # the children need their node, whatever the message was
                self._guard.failed("a control message", error)
        for ref, (frames, due) in list(self._reports.items()):
            if now >= due:
                self._reports[ref] = (frames, now + REPEAT)
                self._send(frames)
        if now >= self._renew_at:
            self._renew_at = now + self._lease / 4
            members = [child for child in self.children if child.what.role != "broker"]
            alive = [child.incarnation for child in members if not child.frozen()]
            if alive:
                self._watch.asked(now)
                wanted = Counter(seat.what.name for seat in self.seats if not seat.leaving)
                gpus = self._gpus.latest(now)
                renew = to_broker.Renew(node=self.id, alive=tuple(alive), wanted=dict(wanted), gpus=gpus)
                self._send(pack_control(renew))
        own = any(seat.what.role == "broker" for seat in self.seats)
        connected = isinstance(self._control, Dealer) and self._control.connected()
        self._look_at = self._watch.look(now, connected=connected, own=own)

    def _obey(self, message: Message) -> None:
        self._watch.heard(time.monotonic())
        if isinstance(message, (from_broker.Ok, from_broker.Error)):
            self._reports.pop(message.ref, None)
        elif isinstance(message, from_broker.LookAt):
            looks = self._reaching if message.kind == "reach" else self._looking
            looks.begin(message, time.monotonic())
        elif isinstance(message, from_broker.Forget):
            at = time.monotonic() + CANCEL_AFTER
            for job in message.jobs:
                self._ended.setdefault(job, at)
