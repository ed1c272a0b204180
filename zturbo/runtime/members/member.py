"""The loop of a member process (worker, sink): sockets on one side, a pure machine on the other.

One thread at a time owns every socket. Each round: wait, read, let the machine decide, carry out its effects.
Other threads hand calls over with :meth:`MemberLoop.post`, which wakes the loop.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import zmq

from zturbo.core.hellos import Hellos
from zturbo.errors import DecodeError, VersionMismatch
from zturbo.runtime.disk.folders import remove_folder
from zturbo.runtime.members.dump import dropped
from zturbo.runtime.members.forward import Forwarder
from zturbo.runtime.members.measuring import Measuring
from zturbo.runtime.net.audit import Audit
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.gate import Gate
from zturbo.runtime.net.guard import Guard
from zturbo.runtime.net.host import zone_of
from zturbo.runtime.net.keys import Security, read_keys
from zturbo.runtime.net.limits import new_context, raise_descriptor_limit
from zturbo.runtime.net.listening import Listening
from zturbo.runtime.net.peers import Inbox, Peers
from zturbo.runtime.net.routes import own_identity
from zturbo.runtime.net.sockets import Dealer, has_more, make, send_frames
from zturbo.runtime.process.childside import REFUSED, UNFIT, ChildSide
from zturbo.runtime.process.descriptors import out_of_the_way
from zturbo.runtime.process.frozen import frozen
from zturbo.runtime.process.heap import Heap
from zturbo.runtime.process.posted import Posted
from zturbo.runtime.process.usage import Usage
from zturbo.runtime.shared.contents import SharedContents, has_references
from zturbo.runtime.shared.folder import pool_path
from zturbo.version import __version__
from zturbo.wire.codec import BadBatch, decode, encode
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import MAX_ANSWER, pack_control, read_answer
from zturbo.wire.control.message import Message
from zturbo.wire.control.report import Report
from zturbo.wire.control.view import Member, View, ViewChange
from zturbo.wire.messages import PROTOCOL, Buffer, DataMessage, Results, Want

__all__ = ["MemberLoop", "Role", "start_member"]

log = logging.getLogger("zturbo")

PROGRESS_EVERY = 0.25
"""Seconds between two reports of progress, while jobs are here."""

ROUND = 256
"""Control messages read in one round at most."""

HELLO_JOBS = 64
"""Jobs that one hello names at most."""


class Role(Protocol):
    """The handlers that a worker or a sink adds to the loop."""

    def control(self, message: Message, now: float) -> None:
        """Take a message of the broker."""

    def data(self, message: DataMessage, now: float) -> None:
        """Take a message of a peer."""

    def unreadable(self, bad: BadBatch, now: float) -> None:
        """Take note of a peer's batch that cannot be read."""

    def tick(self, now: float) -> None:
        """Time has passed."""

    def deadline(self) -> float | None:
        """When ``tick`` is due."""

    def perform(self, now: float) -> None:
        """Carry out the machine's effects."""

    def progress(self) -> to_broker.Progress:
        """Its counts of the jobs that are here."""

    def known(self, after: int, most: int) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of so many jobs, after so many others. Each hello names some of them."""

    def measured(self) -> Report:
        """What it has measured of itself, without what is the same for all members."""


class MemberLoop:
    """The sockets of a worker or a sink.

    Args:
        broker: the broker's control address.
        incarnation: this process's id.
        node: id of the node that started it.
        host: name of this host.
        listening: where to listen beside ipc, for peers that do not share this process's files; None if all
            do.
        stage: name of the stage, for the broker's check; empty for a sink.
        folder: for its ipc socket. It is made here, in a folder that is this user's alone.
        security: the keys of its node, if there are keys.
    """

    def __init__(
        self,
        *,
        broker: str,
        incarnation: bytes,
        node: bytes,
        host: str,
        listening: Listening | None,
        stage: str,
        folder: Path,
        security: Security | None = None,
    ) -> None:
        self.incarnation = incarnation
        self.node = node
        self.host = host
        self.stage = stage
        self.security = security
        raise_descriptor_limit()
        self.context = new_context()
        self.folder = folder
        folder.mkdir(mode=0o700)
        self.audit = Audit(log.warning)
        self.gate = None if security is None else Gate(self.context, self.audit)
        self.arrivals = Arrivals(self.audit, None if listening is None else listening.bounds())
        ipc = [f"ipc://{self.folder}/in"]
        self.inbox = Inbox(self.context, ipc, self.arrivals, security, listening=listening)
        zone = (listening.zone if listening is not None else "") or zone_of(broker)
        self.peers = Peers(self.context, host, self.arrivals, security, self.gate, zone)
        control = make(
            self.context,
            zmq.DEALER,
            connect=broker,
            identity=own_identity(incarnation, secured=security is not None and broker.startswith("tcp:")),
            security=security,
            arrivals=self.arrivals,
            longest=MAX_ANSWER,
        )
        assert isinstance(control, Dealer)
        self.control = control
        self.member: Member | None = None
        self.name = stage
        """For people, such as ``video.detect``."""
        self.forwarder = Forwarder(logging.INFO)
        self.code = ""
        self.view = View(0, {})
        self.joined = 0
        self.bad = 0
        """Messages that were dropped because they are not in zturbo's format."""
        self.guard = Guard(log)
        self.shared = SharedContents.make(incarnation)
        """What this process has in shared memory; None if there is none."""
        if self.shared is not None:
            self.shared.folder.lock = out_of_the_way(self.shared.folder.lock)
        self._heap = Heap()
        self.refused: str | None = None
        """Why the broker has refused this member, or taken it out; None if it has not."""
        self.unfit = False
        """Whether it would refuse each successor of this member too."""
        self._kept_out = ""
        """Why the broker does not let this process in yet."""
        self.stopping = False
        self.waited = 0.0
        """Seconds for which it has waited in all."""
        self._posted = Posted()
        self._posted.fd = out_of_the_way(self._posted.fd)
        self.on_lost: Callable[[], None] = lambda: None
        """Called if other code has closed this process's descriptors."""
        self.on_joined: Callable[[], None] = lambda: None
        """Called when the broker has taken this process into its view."""
        self.on_look: Callable[[from_broker.LookAt], None] = lambda question: None
        """Called when somebody looks at this process, if it is its own node."""
        self._poller = zmq.Poller()
        for socket in (*self.inbox.sockets, self.control, self.control.changes):
            self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._posted.fd, zmq.POLLIN)
        self._extra: dict[zmq.Socket[bytes], Callable[[float], None]] = {}
        self._watched: set[zmq.Socket[bytes]] = set()
        self.parent = 0
        """Process id of the node that renews this member's lease; 0 if there is none."""
        self._hellos = Hellos()
        self._usage = Usage()
        self._measuring = Measuring(time.monotonic())
        self._connections = 0
        self._progress_at = 0.0
        self._told = to_broker.Progress(incarnation=incarnation, counts={})
        self._told_jobs = 0

    def watch(self, socket: zmq.Socket[bytes], handler: Callable[[float], None]) -> None:
        """Poll one more socket, which the handler reads."""
        self._poller.register(socket, zmq.POLLIN)
        self._extra[socket] = handler

    # -- from other threads -------------------------------------------------------------------
    def wake(self) -> None:
        """End the loop's wait, if it waits. Thread-safe."""
        self._posted.wake()

    def post(self, call: Callable[[float], None]) -> None:
        """Let the loop's thread make this call, with the time. Thread-safe; wakes the loop if it sleeps."""
        try:
            self._posted.add(call)
        except OSError:
            self.on_lost()
            raise

    # -- effects ------------------------------------------------------------------------------
    def send(self, peer: bytes, message: DataMessage) -> None:
        """Send a message to a peer's inbox."""
        try:
            frames = encode(message)
        except Exception as error:  # the link stays silent, and the other end complains of that
            self.guard.failed("a message to a peer", error)
            return
        if len(frames) > 2:
            self._heap.used()
            if self.shared is not None and self.peers.is_near(peer):
                frames = self.shared.outgoing(peer, frames)
        self.peers.send(peer, frames)

    def tell(self, message: Message) -> None:
        """Send a message to the broker. It is lost if no broker is there: callers repeat it if need be."""
        try:
            send_frames(self.control, pack_control(message))
        except zmq.Again:
            log.debug("the broker is not there: %s was not said", message.type_name)

    def _hello(self, role: Role) -> None:
        assert self.member is not None
        cpu, memory = self._usage.look(time.monotonic())
        self.tell(
            to_broker.Hello(
                member=self.member,
                node=self.node,
                pid=os.getpid(),
                protocol=PROTOCOL,
                version=__version__,
                python=sys.version.split()[0],
                stage_name=self.stage,
                code=self.code,
                view=self.view.number if self.joined else 0,
                jobs=tuple(self._some_jobs(role)),
                cpu=cpu,
                memory=memory,
            )
        )

    def _some_jobs(self, role: Role) -> list[tuple[bytes, int, int]]:
        """Some of the jobs here. Several hellos in turn name all of them."""
        some = role.known(self._told_jobs, HELLO_JOBS)
        if not some and self._told_jobs:
            self._told_jobs, some = 0, role.known(0, HELLO_JOBS)
        self._told_jobs += len(some)
        return some

    # -- the loop -----------------------------------------------------------------------------
    def run(self, role: Role) -> None:
        """Run until :attr:`stopping`."""
        self.begin()
        while not self.stopping:
            self.round(role)

    def begin(self) -> None:
        """Before the first round."""
        for socket in self.arrivals.changes:
            self._poller.register(socket, zmq.POLLIN)

    def round(self, role: Role, longest: float = math.inf) -> None:
        """Wait until something is due or comes, and do it.

        Args:
            role: what this member does.
            longest: seconds to wait at most.
        """
        now = time.monotonic()
        hellos = self._hellos
        if now >= hellos.at:
            if hellos.due(
                now,
                joined=bool(self.joined),
                renewed=self._renewed(),
                members=len(self.view.members),
            ):
                self._hello(role)
            self.peers.look(now)
            if self.shared is not None:
                self.shared.trim()
            self._heap.look()
        until = min(hellos.at, self._report(role, now), self.arrivals.look(now), now + longest)
        due = role.deadline()
        until = until if due is None else min(due, until)
        timeout = max(0.0, until - now) if self._posted.may_sleep() else 0.0
        if self.peers.stuck or self._watched or self.peers.gone:
            self._watch_blocked()
        before = time.monotonic()
        ready = self._poller.poll(math.ceil(timeout * 1000))
        self._posted.woke()
        now = time.monotonic()
        self.waited += now - before
        for socket, _ in ready:
            if socket == self._posted.fd:
                self._posted.read()
            elif socket is self.control:
                hellos.event(now)
                self._read_control(role, now)
            elif socket is self.control.changes:
                self._follow_connection(now)
            elif socket in self._extra:
                self._extra[socket](now)
            elif socket in self.inbox.sockets:
                hellos.event(now)
                self._read_inbox(role, socket, now)
            else:
                self.arrivals.take(now)
        if self._posted.calls:
            for call in self._posted.take():
                call(now)
        if due is not None and due <= now:  # what has become due since is the next round's
            role.tick(now)
        role.perform(now)
        if self.peers.stuck:
            self.peers.flush()

    def go_on(self, role: Role) -> None:
        """Do what other threads have handed over, without a look at the sockets."""
        now = time.monotonic()
        if self._posted.calls:
            for call in self._posted.take():
                call(now)
        role.perform(now)
        if self.peers.stuck:
            self.peers.flush()

    def _renewed(self) -> bool:
        """Whether a node renews this member's lease."""
        return bool(self.parent) and not frozen(self.parent)

    def _follow_connection(self, now: float) -> None:
        """Say hello at once to a broker that a new connection leads to. Leave, if it lets nobody in under
        this key."""
        self.control.connected()
        if self.control.is_final and self.refused is None:
            self.refused = f"the broker does not let it in: {self.control.denial}"
            self.unfit = self.stopping = True
        if self.control.connections != self._connections:
            self._connections = self.control.connections
            self._told = self._told.but(counts={}, ended={})  # perhaps this is a broker that was not told
            self._hellos.asked(now)

    def _report(self, role: Role, now: float) -> float:
        """Report progress and measurements, if that is due. Returns when it is due next."""
        if self.joined and self._measuring.due(now):
            self._tell_measured(role, now)
        if now < self._progress_at:
            return self._progress_at if self._told.counts else math.inf
        self._progress_at = now + PROGRESS_EVERY
        self._forward()
        progress = role.progress()
        self._tell_progress(progress)
        if not progress.counts:
            return math.inf
        self._hellos.event(now)
        return self._progress_at

    def _tell_progress(self, progress: to_broker.Progress) -> None:
        if progress != self._told:
            self._told = progress
            self.tell(progress)

    def _tell_measured(self, role: Role, now: float) -> None:
        shared = 0 if self.shared is None else self.shared.segments.nbytes
        report = self._measuring.news(role.measured().but(shared=shared), now)
        if report is not None:
            self.tell(to_broker.Measured(incarnation=self.incarnation, report=report))

    def dropped(self) -> dict[str, int]:
        """How much was dropped at the sockets, for the report of this process's state."""
        return dropped(self.bad, self.guard, self.peers, self.arrivals)

    def leave(self, role: Role) -> None:
        """Tell the broker that this member leaves, and stop."""
        self._tell_progress(role.progress())
        self._forward()
        self.tell(to_broker.Leave(incarnation=self.incarnation))
        self.stopping = True

    def _forward(self) -> None:
        """Send the log records of this process to the broker."""
        records, dropped = self.forwarder.take()
        if records or dropped:
            self.tell(
                to_broker.Log(
                    incarnation=self.incarnation, source=self.name, records=tuple(records), dropped=dropped
                )
            )

    def _watch_blocked(self) -> None:
        blocked = set(self.peers.blocked)
        for socket in self._watched - blocked:
            self._poller.unregister(socket)
        for socket in blocked - self._watched:
            self._poller.register(socket, zmq.POLLOUT)
        self._watched = blocked
        self.peers.bury()

    def _read_inbox(self, role: Role, socket: zmq.Socket[bytes], now: float) -> None:
        for frames in self.inbox.receive(socket):
            user = self.inbox.user
            if len(frames) > 2:
                self._heap.used()
            try:
                message = decode(self._resolved(socket, frames))
                if user is None or self._may_speak(message, user):
                    role.data(message, now)
            except BadBatch as error:
                self.bad += 1
                if not all(self.peers.may_speak(claim.source, user) for claim in error.claims):
                    continue
                log.debug("dropped a batch: %s", error)
                role.unreadable(error, now)
            except (DecodeError, VersionMismatch) as error:
                self.bad += 1
                log.debug("dropped a message: %s", error)
            except Exception as error:
                self.guard.failed("a peer's message", error)

    def _may_speak(self, message: DataMessage, user: str) -> bool:
        """Whether a peer's message came under the key of its sender."""
        if isinstance(message, (Want, Results)):  # of clients and for clients: they have no place here
            return False
        if self.peers.may_speak(message.source, user):
            return True
        self.audit.note("a message of a peer in the name of a process that is not under its key", "")
        return False

    def _resolved(self, socket: zmq.Socket[bytes], frames: list[Buffer]) -> list[Buffer]:
        """The frames of a peer's message, with those that it has by reference; raises DecodeError."""
        if not has_references(frames):
            return frames
        if self.shared is None or socket is not self.inbox.sockets[0]:
            raise DecodeError("references from a process that this one shares no memory with")
        return self.shared.incoming(frames)

    def _read_control(self, role: Role, now: float) -> None:
        for _ in range(ROUND):
            try:
                frames = self.arrivals.receive(self.control)
            except zmq.Again:
                return
            kind = "a control message"
            try:
                message = read_answer([frame.buffer for frame in frames])
                kind = message.type_name
                if isinstance(message, from_broker.Refused):
                    self.refused, self.unfit = message.reason, message.final
                    self.stopping = True
                elif isinstance(message, from_broker.LookAt):
                    self.on_look(message)
                elif isinstance(message, from_broker.SayHello):
                    self._hellos.asked(now)
                elif isinstance(message, from_broker.NotAdmitted):
                    self._wait_outside(message.reason)
                elif isinstance(message, from_broker.ViewChanges):
                    self._take_change(message.change, role, now)
                elif not isinstance(message, (from_broker.Welcome, from_broker.NewView)) or self._take_view(
                    message.view
                ):
                    role.control(message, now)
            except DecodeError as error:
                self.bad += 1
                log.debug("dropped a control message: %s", error)
            except Exception as error:
                self.guard.failed(kind, error)
            if not has_more(self.control):
                return

    def _wait_outside(self, reason: str) -> None:
        """The broker does not let this process in yet, and tries again by itself."""
        self._hellos.waits = True
        if reason != self._kept_out:
            self._kept_out = reason
            log.warning("%s does not join yet: %s. It is tried again", self.name or "sink", reason)

    def _take_change(self, change: ViewChange, role: Role, now: float) -> None:
        """Take a change of the view. The whole view is fetched if one before it is missing."""
        view = change.applied(self.view)
        if view is None:
            self.tell(to_broker.GetView(view=self.view.number))
        elif view is not self.view and self._take_view(view):
            role.control(from_broker.NewView(view=view), now)

    def _take_view(self, view: View) -> bool:
        """Take a view, unless it is older than the present one. Returns whether it is taken."""
        if view.number < self.view.number:
            return False
        if self.incarnation in view.members and not self.joined:
            self.joined = view.number
            self.on_joined()
        self.view = view
        self.peers.set_members(view.members)
        if self.shared is not None:
            near = [m for m in view.members.values() if m.host == self.host and m.role in ("worker", "sink")]
            self.shared.wanted = any(member.incarnation != self.incarnation for member in near)
        return True

    @property
    def status(self) -> int:
        """The exit status of its process."""
        if self.refused is None:
            return 0
        return UNFIT if self.unfit else REFUSED

    def close(self) -> None:
        """Close everything and remove the socket files."""
        self.arrivals.forget()
        self.peers.close()
        self.inbox.close()
        self.control.close()
        for socket in self._extra:
            socket.close()
        if self.gate is not None:
            self.gate.close()
        self.context.term()
        if self.shared is not None:
            self.shared.close()
        self._posted.close()
        remove_folder(self.folder)


def start_member(side: ChildSide, stage: str) -> MemberLoop:
    """The loop of a member that a node started."""
    spec = side.spec
    side.wait_to_go()
    side.at_exit(Path(spec["folder"]))  # before the folder is made, since the node may die at any time
    if (pool := pool_path()) is not None:
        side.at_exit(pool / spec["incarnation"].hex())
    loop = MemberLoop(
        broker=spec["broker"],
        incarnation=spec["incarnation"],
        node=spec["node"],
        host=spec["host"],
        listening=Listening.of(spec["tcp"]) if spec.get("tcp") else None,
        stage=stage,
        folder=Path(spec["folder"]),
        security=None if spec.get("keys") is None else read_keys(spec["keys"], ("node",)),
    )
    side.settle_logging()
    if "pipeline" in spec:
        loop.name = f"{spec['pipeline']}.{stage}"
    loop.parent = spec.get("parent", 0)
    loop.on_joined = side.joined
    logging.getLogger().addHandler(loop.forwarder)
    return loop
