"""The sink's process: its machine, its spool, and the socket that clients read results from.

Batches are appended to their job's spool file in the order in which they come. A thread of its own syncs, so
that the loop never waits for that. Then the machine is told ``stored``. Contents are served from memory while
they are recent, else from the spool. A sink that is started on a spool reads it first, and goes on where the
sink before it ended.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import zmq

from zturbo.core.effects import Control, Deliver, Drop, Exit, ForgetDamaged, Free, Meet, Note, Send, Store
from zturbo.core.sink.machine import SinkMachine
from zturbo.errors import DecodeError, VersionMismatch, ZturboError
from zturbo.runtime.disk.spool import SpoolCorrupt, SpoolFull
from zturbo.runtime.disk.spoolfolder import SpoolFolder
from zturbo.runtime.members.dump import dump, links
from zturbo.runtime.members.member import MemberLoop, start_member
from zturbo.runtime.members.outgoing import OutgoingResults
from zturbo.runtime.members.permits import Permits
from zturbo.runtime.members.recent import RecentBatches
from zturbo.runtime.members.stored import StoredJob, message_of
from zturbo.runtime.net.gate import RESULTS
from zturbo.runtime.net.limits import shortage
from zturbo.runtime.net.listening import Listening
from zturbo.runtime.net.sockets import has_more, make, send_frames
from zturbo.runtime.process.childside import ChildSide
from zturbo.runtime.shared.kept import KeptContents, kept_numbers
from zturbo.wire.blobs import slice_blob
from zturbo.wire.codec import BadBatch, decode, encode
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.report import Report
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Batch, Buffer, DataMessage, Results, Want
from zturbo.wire.payload import failure_origin

__all__ = ["SinkProcess"]

log = logging.getLogger("zturbo.sink")

RETRY_FULL = 0.5
"""Seconds between two tries to write while the disk is full."""

FAILED_BYTES = 1 << 20
"""Bytes of failures in one message to a client, about. They may be large: they carry their inputs."""

RESULT_BYTES = 1 << 20
"""Once a message to a client has more bytes of contents than this, the next ones go in another."""

LONGEST_WANT = 64 << 10
"""Bytes that a client's message may have."""


class SinkProcess:
    """The shell of one sink.

    Args:
        loop: its sockets.
        spool: folder for spool files, for this sink alone.
        listening: where clients read results.
        share: bytes of unread results that a job may have before its sources are paused.

    Raises:
        StartError: another sink uses the folder, or it cannot be written.
    """

    def __init__(self, loop: MemberLoop, spool: Path, listening: Listening, share: int = 4 << 30) -> None:
        self.loop = loop
        self.folder = SpoolFolder(spool)
        name = self.folder.id.hex()
        self.kept = KeptContents(name, spool / f"kept-{name[:16]}")
        self.machine = SinkMachine(loop.incarnation, self.folder.id, share, failure_origin, loop.host)
        self.machine.rounds.together = True
        self.stored: dict[bytes, StoredJob] = {}
        self._entered = 0
        """Tasks that came."""
        self._unwritten: deque[Store | Note] = deque()
        self._write_at = 0.0
        self._full = False
        self._short = ""
        """What it lacks for as many peers as it has."""
        self._recover()
        self.recent = RecentBatches()
        self.routers = listening.bind(self._router)
        results = listening.addresses(self.routers)
        self.permits = Permits(loop.gate if listening.hosts else None, loop.audit)
        self.machine.readers.may_read = self.permits.may_read
        self.machine.readers.is_viewer = self.permits.is_viewer
        for router in self.routers:
            loop.watch(router, partial(self._read_clients, router))
        loop.member = Member(
            loop.incarnation,
            "sink",
            "",
            -1,
            loop.host,
            tuple(loop.inbox.endpoints),
            results,
            spool=self.folder.id,
        )
        self._outgoing = OutgoingResults(self._send_results)
        self._to_sync: SimpleQueue[tuple[list[int], set[bytes]] | None] = SimpleQueue()
        self._syncer = threading.Thread(target=self._sync_loop, name="sync", daemon=True)
        self._syncer.start()

    # -- role ---------------------------------------------------------------------------------
    def control(self, message: Message, now: float) -> None:
        """Take a message of the broker."""
        if isinstance(message, from_broker.Readers):
            self.permits.take(message)
            return
        self.machine.control(message, now)
        if isinstance(message, (from_broker.Welcome, from_broker.NewView)):
            self._look_for_room()

    def _look_for_room(self) -> None:
        """The view has changed: say so if there are more peers than this process has descriptors for."""
        short = shortage(len(self.loop.view.members))
        if short != self._short:
            self._short = short
            if short:
                log.warning("the sink may not reach all of its peers: %s", short)
            self._tell_trouble()

    def data(self, message: DataMessage, now: float) -> None:
        """Take a message of a worker or the broker."""
        self.machine.data(message, now)

    def unreadable(self, bad: BadBatch, now: float) -> None:
        """Take note of a batch that cannot be read."""
        self.machine.unreadable(bad, now)

    def progress(self) -> to_broker.Progress:
        """Its counts of the jobs that are here."""
        return self.machine.progress()

    def known(self, after: int, most: int) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of so many jobs here, after so many others."""
        return self.machine.known(after, most)

    def measured(self) -> Report:
        """What it has measured of itself."""
        waiting, unread = self.machine.load()
        return Report(clock=0, tasks=self._entered, waiting=waiting, pending=unread)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.machine.tick(now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        due = self.machine.deadline()
        if self._unwritten:
            return self._write_at if due is None else min(due, self._write_at)
        return due

    def perform(self, now: float) -> None:
        """Carry out the machine's effects."""
        if self._unwritten and now >= self._write_at:
            self._write_late(now)
        shared = self.loop.shared
        self.machine.pace.nbytes = self.kept.nbytes - (0 if shared is None else shared.lent)
        self.machine.rounds.end(now)
        effects, self.machine.effects[:] = list(self.machine.effects), []
        written: list[Store] = []
        told: list[Message] = []
        for effect in effects:
            if isinstance(effect, Send):
                self.loop.send(effect.peer, effect.message)
            elif isinstance(effect, Meet):
                self.loop.peers.meet(effect.members, now)
            elif isinstance(effect, (Store, Note)):
                if isinstance(effect, Store):
                    self._entered += effect.batch.n + len(effect.batch.fails)
                if self._write(effect, now) and isinstance(effect, Store):
                    written.append(effect)
            elif isinstance(effect, Deliver):
                self._deliver(effect)
            elif isinstance(effect, Control):
                told.append(effect.message)
            elif isinstance(effect, ForgetDamaged):
                self.folder.clear_damaged(effect.jobs)
            elif isinstance(effect, Free):
                self._free(effect)
            elif isinstance(effect, Drop):
                self._drop(effect.job)
            elif isinstance(effect, Exit):
                log.error("leaving: %s", effect.reason)
                self.loop.refused = effect.reason
                self.loop.stopping = True
        if written:
            self._make_safe(written, now)
        self._outgoing.send()
        for message in told:  # clients wait for their results, the broker for nothing
            self.loop.tell(message)

    # -- spool --------------------------------------------------------------------------------
    def _recover(self) -> None:
        """Read the spool of an earlier incarnation.

        After a new start of the host, only spools that were synced before each ack are known to be whole.
        """
        folder = self.folder
        rebooted = folder.rebooted
        token = 0
        now = time.monotonic()
        for job in folder.jobs():
            stored = StoredJob(folder.open(job), self.kept)
            try:
                gone: dict[int, SpoolCorrupt] = {}
                for location, frames in stored.spool.recover():
                    numbers = kept_numbers(frames)
                    try:
                        message = message_of(self.kept.frames(frames))
                    except SpoolCorrupt as lost:  # or it was let go
                        gone[token + 1] = lost
                        message = message_of(self.kept.without(frames))
                    if isinstance(message, Want):
                        self.machine.recovered_cursor(job, message.taken, message.first)
                    elif isinstance(message, Batch) and message.job == job:
                        token += 1
                        stored.add(token, location)
                        if numbers:
                            stored.kept[token] = message.n, numbers
                        self.machine.recovered(token, message, now)
                for free in stored.free(self.machine.freed(job)):
                    gone.pop(free, None)
                    del stored.kept[free]
                for missing in gone.values():
                    raise missing
                folder.check(job, stored.spool)
                if rebooted and self.machine.durability(job) != "fsync":
                    raise SpoolCorrupt(f"the host was started anew, and {job.hex()} was not to be synced")
            except Exception as error:  # also of a whole record that zturbo has not written
                text = str(error) if isinstance(error, (ZturboError, OSError)) else type(error).__name__
                log.error("%s: its results are not served: %s", stored.spool.path, text)
                stored.spool.close()
                folder.mark_damaged(job)
                continue
            self.stored[job] = stored
        for job in folder.missing():
            log.error("the spool of job %s is gone: its results are not served", job.hex())
            folder.mark_damaged(job)
        folder.note_boot()
        damaged = folder.damaged()
        for job in damaged:
            if job in self.stored:  # it had started over, and the broker may start it over once more
                folder.drop(job, self.stored.pop(job).spool)  # what it has kept is named no more
        self.kept.recovered(number for stored in self.stored.values() for number in stored.numbers())
        if self.stored or damaged:
            log.info("the spool has %d jobs", len(self.stored))
        self.machine.recovery_done(damaged, now)

    def _write(self, effect: Store | Note, now: float) -> bool:
        """Append to the job's spool. Returns False if that has to wait for room on the disk."""
        if self._unwritten:
            self._unwritten.append(effect)
            return False
        try:
            self._append(effect)
        except SpoolFull as error:
            log.error("the spool's disk is full; waiting for room: %s", error)
            self._unwritten.append(effect)
            self._write_at = now + RETRY_FULL
            self.machine.paused = True
            self._tell_trouble(full=True)
            return False
        return True

    def _tell_trouble(self, *, full: bool | None = None) -> None:
        self._full = self._full if full is None else full
        text = "the disk of its spool is full" if self._full else self._short
        self.loop.tell(to_broker.Trouble(incarnation=self.loop.incarnation, text=text))

    def _write_late(self, now: float) -> None:
        """Try again to write records for which there was no room."""
        written: list[Store] = []
        self._write_at = now + RETRY_FULL
        try:
            while self._unwritten:
                effect = self._unwritten[0]
                if effect.job in self.machine.jobs:
                    self._append(effect)
                if isinstance(effect, Store):
                    written.append(effect)
                self._unwritten.popleft()
        except SpoolFull:
            self._tell_trouble(full=True)
        else:
            log.warning("the spool's disk has room again")
            self.machine.paused = False
            self._tell_trouble(full=False)
        if written:
            self._make_safe(written, now)

    def _append(self, effect: Store | Note) -> None:
        stored = self.stored.get(effect.job)
        if stored is None:
            stored = self.stored[effect.job] = StoredJob(self.folder.open(effect.job), self.kept)
        if isinstance(effect, Note):
            me = self.loop.incarnation
            if effect.stamp is not None:
                stamp = effect.stamp
                stored.spool.append(
                    encode(Batch(stamp.job, stamp.epoch, 0, stamp=stamp, number=1, source=me, target=me))
                )
            else:
                stored.spool.append(encode(Want(effect.job, 0, 0, 0, effect.cursor)))
            return
        batch = effect.batch
        job = self.machine.jobs.get(effect.job)
        stays = bool(batch.buffers) and effect.durability != "fsync" and job is not None and job.once
        if stays and self.loop.shared is not None:
            batch.buffers = self.loop.shared.take_in(batch.buffers)
        frames: Sequence[Buffer] = encode(batch)
        if stays:
            frames = self.kept.keep(frames)
        numbers = kept_numbers(frames)
        try:
            location = stored.spool.append(frames)
        except BaseException:
            self.kept.free(numbers)
            raise
        if numbers:
            stored.kept[effect.token] = batch.n, numbers
        stored.add(effect.token, location)
        self.recent.add(effect.token, batch)

    def _make_safe(self, written: list[Store], now: float) -> None:
        """Sync the batches of ``fsync`` jobs. All others are as safe as their job asks."""
        to_sync = [effect for effect in written if effect.durability == "fsync"]
        if to_sync:
            self._to_sync.put(([effect.token for effect in to_sync], {effect.job for effect in to_sync}))
        safe = [effect for effect in written if effect.durability != "fsync"]
        if safe:
            for job in {effect.job for effect in safe}:
                if (stored := self.stored.get(job)) is not None:
                    self.folder.note_safe(job, stored.spool.size)
            self.machine.stored([effect.token for effect in safe], now)
            self.perform(now)

    def _sync_loop(self) -> None:
        while (todo := self._to_sync.get()) is not None:
            tokens, jobs = todo
            while not self._to_sync.empty():
                more = self._to_sync.get()
                if more is None:
                    return
                tokens += more[0]
                jobs |= more[1]
            for job in jobs:
                stored = self.stored.get(job)
                if stored is not None:
                    size = stored.spool.size
                    try:
                        stored.spool.sync()
                    except OSError as error:
                        if self.stored.get(job) is not stored:
                            continue  # the job was dropped meanwhile
                        # Batches that may not be on the disk are not acked: end, and let the next sink read
                        # the spool.
                        log.error("sync of %s failed: %s", stored.spool.path, error)
                        os._exit(6)
                    self.folder.note_safe(job, size)
            self.loop.post(lambda now, done=tokens: self.machine.stored(done, now))  # type: ignore[misc]

    def _batch(self, job: bytes, token: int) -> Batch:
        return self.recent.get(token) or self.stored[job].read(token)

    def _free(self, effect: Free) -> None:
        """Let go of contents in shared memory that nobody needs. The spool has that first: a sink that reads
        it does not miss them."""
        stored = self.stored.get(effect.job)
        free = [] if stored is None or not stored.kept else stored.free(effect.pieces)
        if not free or self._unwritten:  # on a full disk they stay until the job's end
            return
        assert stored is not None
        try:
            stored.spool.append(encode(Want(effect.job, 0, effect.index, 0, effect.index)))
        except SpoolFull:
            return
        self.machine.gone(effect.job, effect.index)
        for token in free:
            self.recent.drop(token)
            self.kept.free(stored.kept.pop(token)[1])

    def _drop(self, job: bytes) -> None:
        stored = self.stored.pop(job, None)
        if stored is None:
            return
        self.recent.forget(job)
        self.folder.drop(job, stored.spool)
        self.kept.free(stored.numbers())

    # -- clients ------------------------------------------------------------------------------
    def _router(self, address: str) -> zmq.Socket[bytes]:
        """A socket for clients."""
        return make(
            self.loop.context,
            zmq.ROUTER,
            bind=address,
            security=self.loop.security,
            domain=RESULTS,
            arrivals=self.loop.arrivals,
            longest=LONGEST_WANT,
        )

    def _read_clients(self, router: zmq.Socket[bytes], now: float) -> None:
        for _ in range(64):
            try:
                who, *frames = self.loop.arrivals.receive(router)
            except zmq.Again:
                return
            try:
                if not self.permits.come(who.bytes, frames):
                    continue
                message = decode([frame.bytes for frame in frames])
                if type(message) is not Want:
                    raise DecodeError("nothing to say to a sink")
                if self.loop.shared is not None:
                    self.loop.shared.got((who.bytes, message.job, message.token), message.first)
                self.machine.want(who.bytes, message, now)
            except (DecodeError, VersionMismatch) as error:
                self.loop.bad += 1
                log.debug("dropped a client's message: %s", error)
            except Exception as error:
                self.loop.guard.failed("a client's question", error)
            if not has_more(router):
                return

    def _deliver(self, effect: Deliver) -> None:
        results = effect.results
        if not effect.pieces and not effect.fails:
            self._outgoing.add(effect.client, results)
            return
        # Small pieces share a message; a piece with out-of-band buffers has one of its own.
        blobs: list[bytes] = []
        metas: list[bytes] = []
        any_metas = False
        inside: list[tuple[int, bytes]] = []
        failed_bytes = size = 0
        first = at = results.first
        fails = {index: (token, nth) for index, token, nth in effect.fails}
        own = dict(results.fails)
        last: tuple[int, Batch] | None = None
        """The batch of the last failure: as a rule the next failures lie in it too."""
        ends = deque(results.roots)

        def go(part: Results) -> None:
            """Let a part go, with the ends of roots up to its end."""
            part.roots = tuple(ends.popleft() for _ in range(len(ends)) if ends[0][1] <= part.first + part.n)
            self._outgoing.add(effect.client, part)

        def flush(total: int | None = None) -> None:
            nonlocal blobs, metas, any_metas, first, inside, failed_bytes, size
            if at > first or total is not None:
                packed = b"".join(metas) if any_metas else None
                part = Results(results.job, results.token, first, at - first, b"".join(blobs), packed)
                part.fails, part.total = inside, total
                go(part)
            blobs, metas, any_metas, first, inside, failed_bytes, size = [], [], False, at, [], 0, 0

        def failures() -> None:
            """Append the failures that come next."""
            nonlocal at, last, failed_bytes
            while at in fails or at in own:
                if at in own:
                    error = own[at]
                else:
                    token, nth = fails[at]
                    if last is None or last[0] != token:
                        last = (token, self._batch(effect.carrier or results.job, token))
                    error = last[1].fails[nth].error
                inside.append((at, error))
                at += 1
                failed_bytes += len(error)
                if failed_bytes > FAILED_BYTES:
                    flush()

        for token, start, stop in effect.pieces:
            failures()
            batch = self._batch(effect.carrier or results.job, token)
            if batch.buffers:
                flush()
                part = Results(
                    results.job, results.token, at, batch.n, batch.blob, batch.metas, batch.buffers
                )
                at += batch.n
                go(part)
                first = at
                continue
            whole = start == 0 and stop == batch.n
            if size > RESULT_BYTES:
                flush()
            blobs.append(bytes(batch.blob) if whole else slice_blob(batch.blob, batch.n, start, stop))
            size += len(blobs[-1])
            if batch.metas is not None:
                any_metas = True
                metas.append(batch.metas if whole else slice_blob(batch.metas, batch.n, start, stop))
            else:
                metas.append(b"\xc0" * (stop - start))
            at += stop - start
        failures()
        flush(results.total)

    def _send_results(self, client: bytes, results: Results) -> None:
        frames = encode(results)
        if len(frames) > 2 and self.loop.shared is not None:
            frames = self.loop.shared.lend((client, results.job, results.token), results.first, frames)
        for router in self.routers:  # a client is connected to one of them
            try:
                send_frames(router, [client, *frames])
                return
            except zmq.ZMQError as error:
                log.debug("a client is not there: %s", error)

    def close(self) -> None:
        """Stop the syncer and close the spools, which stay."""
        self._to_sync.put(None)
        self._syncer.join(timeout=5)
        for stored in self.stored.values():
            stored.spool.close()
        self.kept.close()
        self.folder.close()


def main() -> int:
    """Run the sink that the spec on stdin describes. Returns the exit status."""
    side = ChildSide.open()
    try:
        loop = start_member(side, side.spec.get("name", "sink"))
        sink = SinkProcess(
            loop,
            Path(side.spec["spool"]),
            Listening.of(side.spec["results"]),
            side.spec.get("share", 4 << 30),
        )
    except BaseException as error:
        return side.failed(error, "sink")

    def leave(now: float) -> None:
        loop.leave(sink)

    def state(now: float) -> None:
        machine = sink.machine
        now_here = {"idle": machine.idle, "stale": machine.stale}
        dump("sink", machine.me, {**now_here, **links(machine.receivers, None), **loop.dropped()})

    signal.signal(signal.SIGTERM, lambda *_: loop.post(leave))
    signal.signal(signal.SIGUSR1, lambda *_: loop.post(state))
    side.ready()
    loop.run(sink)
    sink.close()
    loop.close()
    if loop.refused:
        log.error("sink: %s", loop.refused)
    return loop.status


if __name__ == "__main__":
    sys.exit(main())
