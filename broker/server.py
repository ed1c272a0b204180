"""The broker's process: sockets and the ledger around its machine.

One round: wait, read, decide, write the decisions to the ledger and commit once, then send. So no message
leaves before the decisions that it depends on are committed, and many jobs share one sync. A round that wrote
only of jobs with durability ``process`` or ``memory`` commits without a sync: what it wrote outlives this
process, but perhaps not the host.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections import deque
from pathlib import Path
from platform import python_version

import msgpack
import zmq

from zturbo.core.effects import Confirm, Control, Effect, Load, LogLine, Meet, Record, Reply, Send
from zturbo.errors import DecodeError, VersionMismatch
from zturbo.jobstates import ENDED, LIVE
from zturbo.runtime.members.dump import dropped, dump, links
from zturbo.runtime.net.audit import Audit
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.gate import Gate
from zturbo.runtime.net.guard import Guard
from zturbo.runtime.net.host import zone_of
from zturbo.runtime.net.keys import Security
from zturbo.runtime.net.limits import most_members, new_context
from zturbo.runtime.net.listening import Listening
from zturbo.runtime.net.peers import Inbox, Peers
from zturbo.runtime.process.posted import Posted
from zturbo.runtime.process.usage import Usage
from zturbo.version import __version__
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Results, Want
from zturbo_broker.joblogs import JobLogs
from zturbo_broker.jobs.carried import of_its_job
from zturbo_broker.jobs.job import Job
from zturbo_broker.keyring import Keyring
from zturbo_broker.ledger.archive import LedgerArchive
from zturbo_broker.ledger.file import damaged
from zturbo_broker.ledger.ledger import Ledger, LedgerFull
from zturbo_broker.ledger.rows import LedgerCorrupt, RowUnreadable, batch_of, job_of, member_of, row_of
from zturbo_broker.logbook import Logbook
from zturbo_broker.looks import Looks
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine
from zturbo_broker.members.leases import About
from zturbo_broker.members.rights import User
from zturbo_broker.members.speakers import check_speaker
from zturbo_broker.repeats import has_answer, latest
from zturbo_broker.router import Router
from zturbo_broker.standstill import StandStill

__all__ = ["Broker"]

log = logging.getLogger("zturbo.broker")

LONGEST = 64 << 20
"""Bytes of a peer's message to a broker at most: it has no contents."""

AFTER_FAULT = 0.1
"""Seconds to wait after a round that failed: its cause may last."""

FULL = "the disk of the broker's ledger is full"
"""What clients and nodes are told while nothing can be written."""

TRIM = 1.0
"""Seconds between two looks at shared memory that is not used any more."""

FORGED = "a message of a peer in the name of a process that is not under its key"

NOTE_AFTER = 0.1
"""Seconds for which the last counts of a job that has ended wait for another commit to share."""

TASKS = (Meet, Send)
"""Effects that are performed before all other messages of a round: tasks go first."""

RETRY_COMMIT = 1.0
"""Seconds between two tries to commit while the ledger's disk is full."""


class Broker:
    """One broker.

    Args:
        bind: control address, such as ``tcp://127.0.0.1:5555``.
        ledger: its ledger, open.
        pipelines: the pipelines that it serves.
        host: name of this host.
        folder: for its ipc socket; the broker makes it.
        listening: where the inbox listens beside ipc; None if all workers share this process's files.
        lease: seconds that a member lives without being renewed.
        feed_timeout: seconds that a client may be silent while it feeds a job.
        security: the broker's keys, if there are keys.
        keyring: the keys that it lets in, if there are keys.

    Raises:
        StartError: the address is in use, or the ledger is damaged.
    """

    def __init__(
        self,
        *,
        bind: str,
        ledger: Ledger,
        pipelines: list[PipelineInfo],
        host: str,
        folder: Path,
        listening: Listening | None = None,
        lease: float = 5.0,
        feed_timeout: float = 60.0,
        security: Security | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self.ledger = ledger
        number, members, jobs = self._read_ledger()
        self.context = new_context()
        self.guard = Guard(log)
        self.keyring = keyring
        self._audited: deque[str] = deque()
        """Lines about those who were not let in, from any thread."""
        self.audit = Audit(self._audited.append)
        self.gate = None if security is None else Gate(self.context, self.audit)
        if self.gate is not None and keyring is not None:
            keyring.open(self.gate)
        self.arrivals = Arrivals(self.audit, None if listening is None else listening.bounds())
        largest = max((pipeline.max_task_bytes for pipeline in pipelines), default=0)
        users = {} if keyring is None else keyring.users
        self.router = Router(
            self.context,
            bind,
            self._handle,
            self.guard,
            self.arrivals,
            largest,
            security,
            lambda key: None if self.keyring is None else self.keyring.user(key, time.monotonic()),
            lambda user, who, message: self.machine.known.rights.check(user, who, message),
            self.audit,
        )
        self._say = self.router.say
        self.address = self.router.address
        self.folder = folder
        folder.mkdir(mode=0o700)
        ipc = [f"ipc://{self.folder}/in"]
        self.inbox = Inbox(self.context, ipc, self.arrivals, security, LONGEST, listening)
        zone = (listening.zone if listening is not None else "") or zone_of(bind)
        self.peers = Peers(self.context, host, self.arrivals, security, self.gate, zone)
        me = os.urandom(16)
        key = "" if security is None else security.public
        member = Member(me, "broker", "", -1, host, tuple(self.inbox.endpoints), key=key)
        self.machine = BrokerMachine(
            member,
            pipelines,
            view=number + 1,
            lease=lease,
            feed_timeout=feed_timeout,
            grace=2 * lease,
            version=__version__,
            cluster=self.cluster_id,
            archive=LedgerArchive(ledger),
            room=most_members(),
        )
        self.machine.rounds.together = True
        self._still = StandStill(self.machine.stood_still)
        self.machine.known.rights.shared = keyring is not None and keyring.shared
        if keyring is not None:  # those whose key was revoked meanwhile are out
            members = [one for one in members if one.key in users and users[one.key].role == "node"]
        self._readers_of = -1
        """Number of the last view whose sinks were told who may read."""
        ledger.set_view(number + 1)  # a number is never used twice, however soon this broker dies
        self._due = True
        """Whether there are records without a commit. Until then only a ``Reply`` is sent, which depends on
        none."""
        self.stopping = False
        self._posted = Posted()
        self.dumping = False
        """Whether its state is to be written to the log."""
        self.bad = 0
        """Messages of peers that were dropped because they could not be read."""
        self.logbook = Logbook(int(time.time() * 1000))
        self.joblogs = JobLogs(ledger.path.parent / "joblogs")
        self.looks = Looks(self.machine.membership, self.router.say)
        self._usage = Usage()
        self._changed: dict[bytes, Job] = {}
        """Jobs whose rows are to be written."""
        self._notes_at = math.inf
        """When rows are written that nothing waits for, unless a commit takes them before."""
        self._present: dict[bytes, str] = {}
        self._full_until = self._trim_at = 0.0
        self._sync = True
        self._deferred: list[Effect] = []
        self._loads: list[Load] = []
        self._poller = zmq.Poller()
        for socket in (self.router.socket, *self.inbox.sockets, *self.arrivals.changes):
            self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._posted.fd, zmq.POLLIN)
        self._restore(members, jobs)

    def _read_ledger(self) -> tuple[int, list[Member], list[Job]]:
        """(number, members) of the last view, and the jobs.

        A row with a wrong checksum means a damaged ledger, and the broker does not start. A row with a right
        checksum that makes no sense, such as a member without a usable endpoint, is left out.
        """
        ledger = self.ledger
        try:
            self.cluster_id = ledger.cluster_id
            jobs = []
            for row in ledger.jobs():
                try:
                    jobs.append(job_of(row, ledger.chunk_index(row.id)))
                except RowUnreadable as error:
                    log.error("%s: starting without it: %s", ledger.path, error)
            members = []
            for raw in ledger.members():
                try:
                    members.append(member_of(raw))
                except RowUnreadable as error:
                    log.error("%s: starting without it: %s", ledger.path, error)
            return ledger.view(), members, jobs
        except LedgerCorrupt as error:
            raise damaged(ledger.path, error) from None

    def _restore(self, members: list[Member], jobs: list[Job]) -> None:
        now = time.monotonic()
        self.machine.restore(members, jobs, now)
        self._perform(now)
        if jobs:
            unfinished = sum(job.state in LIVE for job in jobs)
            log.info("the ledger has %d jobs, %d of them unfinished", len(jobs), unfinished)
        self.joblogs.clean(lambda job: self.machine.known.table.find(job) is not None)

    # -- the logbook --------------------------------------------------------------------------
    def _note(self, level: str, source: str, job: bytes, text: str) -> None:
        """Add a line for ``zturbo logs``; a warning or an error goes to this process's stderr too."""
        entry = self.logbook.add(time.time(), level, source, job, text)
        if job and level != "INFO":
            self.joblogs.add(job, [entry])
        number: int = getattr(logging, level)
        if number > logging.INFO or log.isEnabledFor(logging.DEBUG):
            log.log(number if number > logging.INFO else logging.DEBUG, "%s", text)

    def _look_at_keys(self, now: float) -> None:
        """Take note of keys that were made or revoked, and tell the sinks."""
        assert self.keyring is not None and self.gate is not None
        revoked = self.keyring.look(now)
        if revoked is not None:
            self.keyring.open(self.gate)
            self._note(
                "INFO", "broker", b"", f"the folder of keys has changed; {len(revoked)} keys were revoked"
            )
            self.machine.revoked(revoked, now)
            self._perform(now)  # they are told, while it is known where they are
            if self.router.routes is not None:
                self.router.routes.forget(revoked)
        number = self.machine.membership.number
        readers = self.keyring.tell(now, changed=number != self._readers_of)
        if readers is not None:
            self._readers_of = number
            for sink in self.machine.membership.sinks():
                self.router.say(sink.incarnation, readers)

    def _log(self, m: to_broker.Log) -> None:
        members, table = self.machine.membership, self.machine.known.table
        if m.incarnation in members:
            member = members.get(m.incarnation)
            host = "" if member is None else member.host
            m = m.but(records=tuple(of_its_job(table.find, record) for record in m.records))
            entries = self.logbook.add_records(time.time(), m, host, members.pid_of(m.incarnation))
            kept: dict[bytes, list[answers.LogEntry]] = {}
            for entry in entries:
                if entry.job and (job := table.locate(entry.job)[0]) is not None:
                    kept.setdefault(job.id, []).append(entry)
            for name, lines in kept.items():
                self.joblogs.add(name, lines)

    def _logs(self, who: bytes, m: to_broker.Logs, user: User | None) -> None:
        known = self.machine.known

        def sees(name: bytes) -> bool:
            job, _ = known.table.locate(name) if name else (None, -1)
            return job is not None and known.rights.sees(user, job)

        all_jobs = user is None or user.role != "client" or known.rights.shared
        older = m.job is not None and m.after < self.logbook.oldest
        kept: list[answers.LogEntry] = []
        if older and m.job is not None:
            job, root = known.table.locate(m.job)
            kept = self.joblogs.read(m.job if job is None else job.id)
            if root >= 0:
                kept = [entry for entry in kept if entry.job == m.job]
        page = self.logbook.page(m.after, m.job, m.source, None if all_jobs else sees, kept)
        self.router.say(who, from_broker.Ok(ref=m.ref, value=page))

    def _look_at_itself(self, now: float) -> None:
        """Note what ``zturbo hosts`` shows of this process."""
        cpu, memory = self._usage.look(now)
        known = self.machine.known
        known.clock = time.time()
        known.pid, known.about = os.getpid(), About(__version__, python_version(), "", cpu, memory)

    def _note_members(self, members: list[Member]) -> None:
        """Log which members have joined the view, and which are out of it."""
        now = {member.incarnation: self.machine.known.name_of(member) for member in members}
        for incarnation, name in now.items():
            if incarnation not in self._present:
                self._note("INFO", name, b"", f"{name} has joined: {incarnation.hex()[:8]}")
        for incarnation, name in self._present.items():
            if incarnation not in now:
                self._note("INFO", name, b"", f"{name} is out of the view: {incarnation.hex()[:8]}")
        self._present = now

    def _note_job(self, job: Job) -> None:
        """Log a job's new state or new epoch."""
        # A job that waits for its first start has epoch 0.
        again = job.state in LIVE and job.epoch > max(1, 1 if job.logged is None else job.logged[1])
        job.logged, text = (job.state, job.epoch), f"job {job.name!r} in {job.pipeline} is {job.state!s}"
        if job.state in ENDED:
            text += f": {job.error}" if job.error else f": {job.results} results, {job.failed} failed tasks"
        elif job.epoch > 1:
            text += f", epoch {job.epoch}: it starts over"
        self._note("WARNING" if again else "INFO", "broker", job.id, text)

    def _handle(self, who: bytes, message: Message, now: float, user: User | None) -> None:
        if isinstance(message, (to_broker.Log, to_broker.Logs, to_broker.Look, to_broker.Seen)):
            check_speaker(who, message)
            if isinstance(message, to_broker.Log):
                self._log(message)
            elif isinstance(message, to_broker.Logs):
                self._logs(who, message, user)
            elif isinstance(message, to_broker.Look):
                self.looks.ask(who, message, now)
            else:
                self.looks.seen(message)
            return
        if isinstance(message, to_broker.Members):
            self._look_at_itself(now)
        elif isinstance(message, to_broker.Jobs):
            self.machine.known.clock = time.time()
        if not (isinstance(message, to_broker.Exited) and has_answer(self._deferred, who, message.ref)):
            self.machine.control(who, message, now, user)

    # -- the loop -----------------------------------------------------------------------------
    def stop(self) -> None:
        """Let :meth:`run` end. Safe in a signal handler."""
        self.stopping = True
        self._posted.wake()

    def run(self) -> None:
        """Serve until :meth:`stop` is called.

        Raises:
            LedgerCorrupt: the ledger is damaged. Any other error fails its round alone.
        """
        while not self.stopping:
            try:
                self._round()
            except LedgerCorrupt:
                raise
            except Exception as error:
                self.guard.failed("a round", error)
                time.sleep(AFTER_FAULT)

    def _round(self) -> None:
        now = time.monotonic()
        due = self.machine.deadline()
        until = min(self.arrivals.look(now), self._notes_at)
        if self._full_until:
            until = min(until, self._full_until)
        if self.keyring is not None:
            until = min(until, self.keyring.deadline())
        while self._audited:
            self._note("WARNING", "broker", b"", self._audited.popleft())
        timeout = max(0.0, (until if due is None else min(due, until)) - now)
        if self.peers.stuck:
            timeout = min(timeout, 0.005)
        self.peers.look(now)
        if self.peers.gone:
            self.peers.bury()
        if now >= self._trim_at:
            self._trim_at = now + TRIM
            self.router.trim()
        if self.dumping:
            self.dumping = False
            losses = dropped(self.bad + self.router.bad, self.guard, self.peers, self.arrivals)
            totals = {state.value: count for state, count in self.machine.known.table.totals.items()}
            jobs = {"in_memory": len(self.machine.jobs), **totals}
            dump("broker", self.machine.me, {"jobs": jobs, **links(None, self.machine.senders), **losses})
        ready = self._poller.poll(math.ceil(timeout * 1000))
        self._still.slept(timeout)
        if self.keyring is not None:  # before what has come meanwhile is read, however long that was
            self._look_at_keys(time.monotonic())
        for socket, _ in ready:
            if socket is self.router.socket:
                self.router.read()
            elif socket in self.inbox.sockets:
                self._read_inbox(socket)
            elif socket == self._posted.fd:
                self._posted.read()
            else:
                self.arrivals.take(time.monotonic())
        now = self._still.look()
        try:
            if due is not None and due <= now:  # what has become due since is the next round's
                self.machine.tick(now)
        finally:  # effects of earlier messages are performed even if the tick fails
            self._perform(now)
            if self.peers.stuck:
                self.peers.flush()

    def _read_inbox(self, socket: zmq.Socket[bytes]) -> None:
        for frames in self.inbox.receive(socket):
            try:
                message = decode(frames)
                if isinstance(message, (Want, Results)):
                    continue  # of clients and for clients
                if not self.peers.may_speak(message.source, self.inbox.user):
                    self.audit.note(FORGED, "")
                    continue
                self.machine.data(message, time.monotonic())
            except (DecodeError, VersionMismatch) as error:
                self.bad += 1
                log.debug("dropped a message: %s", error)
            except Exception as error:
                self.guard.failed("a peer's message", error)

    # -- effects ------------------------------------------------------------------------------
    def _perform(self, now: float) -> None:
        while True:
            self.machine.rounds.end(now)
            effects, self.machine.effects[:] = self.machine.effects.copy(), []
            for effect in effects:
                if type(effect) is Record:
                    try:
                        self._record(effect, now)
                    except Exception as error:  # a value that no row can have: the other rows are written
                        self.guard.failed(f"record {effect.op}", error)
                elif type(effect) is Load:
                    self._loads.append(effect)
                elif type(effect) is LogLine:
                    self._note(effect.level, effect.source, effect.job, effect.text)
                else:
                    self._deferred.append(effect)
            if now >= self._notes_at:
                self._due, self._notes_at = True, math.inf
            if self._due and not self._commit(now):
                self._answer_questions()
                self._tell_who_waits(effects)
                return
            deferred, self._deferred = self._deferred, []
            tasks = [one for one in deferred if type(one) in TASKS]
            for effect in tasks + [one for one in deferred if type(one) not in TASKS]:
                self._do(effect)
            loads, self._loads = self._loads, []
            for load in loads:
                try:
                    row = self.ledger.chunk(load.job, load.seq)
                except LedgerCorrupt as error:
                    log.error("%s", error)
                    self.machine.unreadable(load.job, load.seq, str(error), now)
                    continue
                self.machine.loaded(load.job, load.seq, batch_of(row), now)
            self.peers.set_members(self.machine.membership.view().members)
            if not self.machine.effects and not self.machine.rounds.due:
                return

    def _do(self, effect: Effect) -> None:
        """Send one message. If it cannot be packed, the others are sent nevertheless."""
        try:
            if type(effect) is Meet:
                self.peers.meet(effect.members, time.monotonic())
            elif type(effect) is Send:
                frames = encode(effect.message)
                if len(frames) > 2 and self.router.shared is not None and self.peers.is_near(effect.peer):
                    frames = self.router.shared.outgoing(effect.peer, frames)
                self.peers.send(effect.peer, frames)
            elif isinstance(effect, (Control, Confirm, Reply)):
                self.router.say(effect.to, effect.message)
        except Exception as error:
            self.guard.failed(f"say {type(effect).__name__}", error)

    def _answer_questions(self) -> None:
        """While nothing can be written, send the answers that depend on no record."""
        self._deferred = latest(self._deferred)
        for effect in [effect for effect in self._deferred if isinstance(effect, Reply)]:
            self._deferred.remove(effect)
            self.router.say(effect.to, effect.message)

    def _tell_who_waits(self, effects: list[Effect]) -> None:
        """While nothing can be written, tell each client or node with a deferred answer what it waits for."""
        for effect in effects:
            if isinstance(effect, Confirm):
                if isinstance(answer := effect.message, (from_broker.Ok, from_broker.Error)):
                    self.router.say(effect.to, from_broker.Wait(ref=answer.ref, reason=FULL))

    def _commit(self, now: float) -> bool:
        """Commit. Returns whether the ledger has all records: on a full disk the broker tries again later."""
        if now < self._full_until:
            return False
        self._write_jobs()
        try:
            self.ledger.commit(sync=self._sync)
        except LedgerFull as error:
            if not self._full_until:
                log.error("the ledger's disk is full; waiting for room: %s", error)
                self.machine.trouble[self.machine.me] = FULL
            self._full_until = now + RETRY_COMMIT
            return False
        if self._full_until:
            log.warning("the ledger's disk has room again")
            self.machine.trouble.pop(self.machine.me, None)
        self._full_until, self._notes_at = 0.0, math.inf
        self._due = self._sync = False
        self.machine.recorded()
        return True

    def _needs_sync(self, job: Job | None) -> bool:
        """Whether a job and its roots have to outlive the host; also if there is none any more."""
        if job is None:
            return True
        pipeline = self.machine.pipelines.get(job.pipeline)
        default = "fsync" if pipeline is None else pipeline.durability
        return bool(job.options.get("durability", default) == "fsync")

    def _put_job(self, job: Job) -> None:
        if not job.created:
            job.created = time.time()
        if job.state not in ENDED:
            job.ended = 0.0
        elif not job.ended:
            job.ended = time.time()
        if job.logged != (job.state, job.epoch):
            self._note_job(job)
        self._changed[job.id] = job

    def _write_jobs(self) -> None:
        """Write each job that has changed in this round, once, as it is now."""
        changed, self._changed = self._changed, {}
        for job in changed.values():
            try:
                self.ledger.put_job(row_of(job, job.ended or None))
            except Exception as error:  # a value that no row can have: the other rows are written
                self.guard.failed("write a job", error)

    def _record(self, effect: Record, now: float) -> None:
        """Queue what is to be written, and note when that is, and whether it has to outlive the host."""
        args = effect.args
        if effect.op == "note_job":
            self._notes_at = min(self._notes_at, now + NOTE_AFTER)
            self._put_job(args[0])
            return
        self._due = True
        if effect.op == "put_job":
            self._sync = self._sync or self._needs_sync(args[0])
            self._put_job(args[0])
        elif effect.op == "put_chunk":
            job, seq, first, n, roots = args
            sync = self._needs_sync(self.machine.jobs.get(job))  # jobs with roots are there
            self._sync = self._sync or sync
            contents = roots.blob, roots.metas, roots.buffers
            self.ledger.put_chunk(job, seq, first, n, *contents, in_memory=not sync)
        elif effect.op in ("trim_chunks", "drop_chunks"):
            getattr(self.ledger, effect.op)(*args)
        elif effect.op == "drop_job":
            self._changed.pop(args[0], None)
            self.ledger.drop_job(args[0])
            self.joblogs.drop(args[0])
        elif effect.op == "set_members":
            self._sync = True
            number, members = args
            self._note_members(members)
            self.ledger.set_view(number)
            self.ledger.set_members([msgpack.packb(member.to_wire()) for member in members])

    def close(self) -> None:
        """Close the sockets and the ledger."""
        self.arrivals.forget()
        self.peers.close()
        self.inbox.close()
        self.router.close()
        if self.gate is not None:
            self.gate.close()
        self.context.term()
        self._posted.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._write_jobs()
        try:
            self.ledger.close()
        except LedgerFull as error:
            log.error("the ledger's disk is still full; requests that were not answered are lost: %s", error)
