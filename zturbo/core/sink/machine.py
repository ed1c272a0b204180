"""The sink's machine: the last sequencer of each job, and what its clients have got.

A batch is stored first; when it is as safe as the job's durability asks, it enters the sequencer and
is acked. So the spool is a log of entries in their order: reading it again gives the same state, and
a copy is acked only after a first one is safe. What the sequencer releases gets an index, 0, 1, ...;
clients ask for results by index, with a limit that is absolute, so nothing said twice does harm.

A job that is complete is reported to the broker until the broker confirms it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from zturbo.core.counts import EndedJobs
from zturbo.core.effects import Control, Deliver, Drop, Effect, Exit, ForgetDamaged, Note, Store
from zturbo.core.links.credit import MAX_WINDOW
from zturbo.core.links.receivers import Receivers
from zturbo.core.order.by_meta import ByMeta
from zturbo.core.order.sequencer import Sequencer
from zturbo.core.sink.job import JobReader, KnownFailure, SinkJob, SinkJobState
from zturbo.errors import DecodeError
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import View
from zturbo.wire.messages import (
    Batch,
    DataMessage,
    Greet,
    Path,
    Probe,
    Results,
    Stamp,
    Want,
    meta_key,
)
from zturbo.wire.payload import failure_text

__all__ = ["SinkMachine"]

REPORT_AFTER = 1.0
"""Seconds after which a completion that was not confirmed is reported again."""

RECOVERED_EVERY = 1.0
"""Seconds between two reports of what was recovered, until the broker confirms it."""

PAUSE_EVERY = 1.0
"""Seconds between two words that a job has more than its share of unread results."""

NOTE_CURSOR = 0.5
"""Seconds between two notes of how far a job's results were taken."""

MAX_KNOWN_FAILURES = 10_000
"""Failures that may have been given out before an ordered job starts over."""

MAX_SEGMENT = 1024
"""Results in one message to a client."""

MAX_WAITING = 10_000
"""Unknown jobs that clients may have asked for at once."""

NOT_KEPT = "these results are not kept any more"


class SinkMachine:
    """One sink.

    Args:
        me: incarnation.
        spool: id of its spool.
        share: bytes of unread results that a job may have before its sources are paused.
        origin: (stage, path, children before it) of a failure.
        host: its name, for errors.
    """

    def __init__(
        self,
        me: bytes,
        spool: bytes = b"",
        share: int = 4 << 30,
        origin: Callable[[bytes], tuple[int, Path, int] | None] = lambda error: None,
        host: str = "",
    ) -> None:
        self.me = me
        self.host = host
        self._origin = origin
        self.spool = spool
        self.share = share
        self.paused = False
        """Whether the disk is full: nothing new is taken."""
        self.effects: list[Effect] = []
        self.receivers = Receivers(me, self.effects)
        self.jobs: dict[bytes, SinkJob] = {}
        self.ended = EndedJobs(me)
        self.joined = 0
        self.stale = 0
        self.bad = 0
        self._token = 0
        self._storing: dict[int, tuple[Batch, bytes, int]] = {}
        self._waiting: dict[bytes, dict[bytes, Want]] = {}
        """Job that is not here yet -> client -> what it wants."""
        self._busy: dict[bytes, None] = {}
        """Jobs that something may be due for: a reader, a completion that is not confirmed."""
        self._damaged: list[bytes] = []
        self._recovered = False
        """Whether the broker is to be told what was recovered."""
        self._tell_at = -math.inf

    # -- control ------------------------------------------------------------------------------
    def view(self, view: View, now: float) -> None:
        """The broker's word on who lives."""
        if view.number < self.receivers.view.number:
            return
        if self.me in view.members:
            self.joined = self.joined or view.number
        elif self.joined:
            self.effects.append(Exit("the broker's view is without this sink", 3))
            return
        self.receivers.set_view(view)
        self._settle(now)

    def stamp(self, stamp: Stamp, now: float) -> None:
        """The broker stamped a job for this sink, perhaps in a higher epoch."""
        known = self.jobs.get(stamp.job)
        if stamp.sink == self.me and stamp.job not in self.ended:
            self._accept_stamp(stamp, now)
            self._tell_known_failures(stamp)
        elif known is not None and stamp.rank > known.stamp.rank and stamp.spool != self.spool:
            self._drop(stamp.job)
        self._settle(now)

    def _tell_known_failures(self, stamp: Stamp) -> None:
        """Whenever the broker says that a job started over: which failures were given out, and so stand.

        Of what is above an ordered stage, or in it: below the last, paths alone tell what is a copy.
        """
        job = self.jobs[stamp.job]
        if stamp.epoch == 1 or not stamp.ordered or job.stamp.epoch != stamp.epoch:
            return
        waiting = job.by_meta.failures if job.by_meta is not None else []
        known = [*job.results.errors.values(), *waiting]
        origins = {failure.origin for failure in known if isinstance(failure, KnownFailure)}
        failures = [origin for origin in origins if origin is not None and origin[0] <= max(stamp.ordered)]
        if len(failures) > MAX_KNOWN_FAILURES:
            why = (
                f"{len(failures)} failures were given out before the job started over: more than can be kept"
            )
            self._fail_job(job.stamp, "ResultsLost", why)
        else:
            message = to_broker.KnownFailures(
                incarnation=self.me, job=stamp.job, epoch=job.stamp.epoch, failures=tuple(sorted(failures))
            )
            self.effects.append(Control(message))

    def forget(self, jobs: Sequence[bytes], now: float) -> None:
        """Nobody wants these jobs' results any more."""
        for job in jobs:
            counts, known = None, self.jobs.get(job)
            if known is not None:
                counts = (known.stamp.epoch, known.good, known.failed)
                if known.reader is not None:
                    self._refuse(known.reader.client, Want(job, known.reader.token, 0, 0), NOT_KEPT)
                self._drop(job)
            self.ended.add(job, counts, now)
        self._settle(now)

    def confirm(self, job: bytes) -> None:
        """The completion is in the ledger."""
        known = self.jobs.get(job)
        if known is not None and known.state is SinkJobState.COMPLETE:
            known.move(SinkJobState.CONFIRMED)

    def _drop(self, job: bytes) -> None:
        del self.jobs[job]
        self._busy.pop(job, None)
        self.effects.append(Drop(job))

    # -- data ---------------------------------------------------------------------------------
    def data(self, message: DataMessage, now: float) -> None:
        """A message from a peer."""
        if type(message) is Batch:
            self._batch(message, now)
        elif type(message) is Probe:
            self.receivers.probe(message, now)
        elif type(message) is Greet:
            self.receivers.greet(message, now)
        else:
            self.bad += 1
        self._settle(now)

    def unreadable(self, claim: Batch, why: str, now: float) -> None:
        """A batch came that cannot be read, but for the record of whose it is."""
        job = self.jobs.get(claim.job)
        ended = claim.job in self.ended or (job is not None and claim.epoch < job.stamp.epoch)
        self.receivers.unreadable(claim, why, ended=ended, now=now)
        self._settle(now)

    def _batch(self, batch: Batch, now: float) -> None:
        link = self.receivers.batch(batch, now)
        if link is None:
            return
        link.window.leave(batch.size, batch.nbytes)
        if batch.stamp is not None and batch.job not in self.ended and batch.stamp.sink == self.me:
            self._accept_stamp(batch.stamp, now)
        job = self.jobs.get(batch.job)
        if job is None or batch.epoch < job.stamp.epoch:
            self.stale += batch.size
            link.ack(batch.number, now)
            return
        self._token += 1
        self._storing[self._token] = (batch, batch.source, batch.number)
        self.effects.append(Store(batch.job, self._token, batch, job.stamp.durability))

    def _accept_stamp(self, stamp: Stamp, now: float, *, note: bool = True) -> None:
        job = self.jobs.get(stamp.job)
        if job is not None and stamp.rank <= job.stamp.rank:
            return
        if note:
            self.effects.append(Note(stamp.job, stamp, 0))
        if job is None:
            key = meta_key(stamp.order)
            by_meta = None if key is None else ByMeta(key, self.host)
            job = self.jobs[stamp.job] = SinkJob(stamp, Sequencer(ordered=stamp.order != "none"), by_meta)
            for client, want in self._waiting.pop(stamp.job, {}).items():
                self.want(client, want, now)
        elif stamp.epoch > job.stamp.epoch:
            self._enter_early(job, now)
            if job.stamp.hold == "failures" or (stamp.ordered and not job.complete):
                job.sequencer.keep_prefix()
                if job.complete and not job.sequencer.complete:
                    job.move(SinkJobState.COLLECTING)
            job.stamp = stamp
            self._busy[stamp.job] = None
        else:
            job.stamp = stamp
            self._busy[stamp.job] = None

    def _enter_early(self, job: SinkJob, now: float) -> None:
        """The job starts over: what is being stored of it enters before that, as it does in the spool.

        So a sink that reads the spool later keeps the same prefix. It is given out when it is safe.
        """
        if not job.unsafe:
            job.shown = job.released
        for token, (batch, _, _) in self._storing.items():
            if batch.job == job.stamp.job and batch.epoch == job.stamp.epoch:
                job.unsafe.add(token)
                self._enter(batch.job, job, token, batch, now)

    def stored(self, tokens: list[int], now: float) -> None:
        """These batches are as safe as they need to be."""
        for token in tokens:
            batch, source, number = self._storing.pop(token)
            job = self.jobs.get(batch.job)
            if job is not None and token in job.unsafe:
                job.unsafe.remove(token)
                self._busy[batch.job] = None
            elif job is not None and batch.epoch >= job.stamp.epoch:
                self._enter(batch.job, job, token, batch, now)
            else:
                self.stale += batch.size
            self.receivers.ack(source, number, now)
        self._settle(now)

    def recovered(self, token: int, batch: Batch, now: float) -> None:
        """A stored batch was read from the spool of an earlier incarnation, in the order of storing."""
        self._token = max(self._token, token)
        if batch.stamp is not None:
            self._accept_stamp(batch.stamp, now, note=False)
        job = self.jobs.get(batch.job)
        if job is not None and batch.epoch >= job.stamp.epoch and batch.size:
            self._enter(batch.job, job, token, batch, now)

    def recovered_cursor(self, name: bytes, taken: int) -> None:
        """How far a job's results had been taken, as the spool has it."""
        job = self.jobs.get(name)
        if job is not None:
            job.cursor = max(job.cursor, min(taken, job.released))

    def recovery_done(self, damaged: list[bytes], now: float) -> None:
        """All of the spool was read; these jobs' files were damaged, and are gone."""
        for job in damaged:
            self.jobs.pop(job, None)
            self._busy.pop(job, None)
        self._damaged = damaged
        self._recovered = True
        self._tell_at = now

    def control(self, message: Message, now: float) -> None:
        """The broker's word."""
        match message:
            case from_broker.Welcome(view=view) | from_broker.NewView(view=view):
                self.view(view, now)
            case from_broker.NewStamp(stamp=stamp):
                self.stamp(stamp, now)
            case from_broker.Forget(jobs=jobs):
                self.forget(jobs, now)
            case from_broker.Confirmed(job=job):
                self.confirm(job)
            case from_broker.AskEntered(job=job, epoch=epoch):
                self.ask_entered(job, epoch, now)
            case from_broker.RecoveredOk():
                self._recovered = False
                self.effects.append(ForgetDamaged(self._damaged))

    def durability(self, name: bytes) -> str:
        """What a job's batches waited for before they were acked."""
        job = self.jobs.get(name)
        return "fsync" if job is None else job.stamp.durability

    def ask_entered(self, name: bytes, epoch: int, now: float) -> None:
        """A restarted broker asks which roots have wholly entered this job's sequencer."""
        job = self.jobs.get(name)
        roots = job.sequencer.entered() if job is not None and job.stamp.epoch == epoch else []
        message = to_broker.Entered(incarnation=self.me, job=name, epoch=epoch, roots=tuple(roots))
        self.effects.append(Control(message))

    def _enter(self, name: bytes, job: SinkJob, token: int, batch: Batch, now: float) -> None:
        entry = job.sequencer
        job.stored_bytes += batch.nbytes
        self._busy[name] = None
        offset = 0
        try:
            item: Any = token if job.by_meta is None else job.by_meta.keyed(token, batch)
            for first, n in batch.runs:
                entry.enter_run(first, n, item, offset)
                offset += n
            for end in batch.ends:
                entry.enter_end(end.path, end.count, None)
            for nth, fail in enumerate(batch.fails):
                origin = self._origin(fail.error) if job.stamp.ordered else None
                new = entry.enter_fail(fail.path, fail.count, KnownFailure(token, nth, origin))
                if new and job.stamp.fail_fast and job.failure is None:
                    job.failure = failure_text(fail.error)
                    job.report_at = now
        except DecodeError:
            self.bad += 1
        self._release(job)
        if entry.complete and not job.complete:
            job.move(SinkJobState.COMPLETE)
            job.report_at = now

    def _release(self, job: SinkJob) -> None:
        hold = job.stamp.hold
        if hold == "all" and not job.sequencer.complete:
            return
        while pieces := job.sequencer.pop(1 << 16, before_failure=hold == "failures"):
            for piece in pieces:
                if job.by_meta is not None:
                    for token, offset in job.by_meta.released(piece):
                        job.results.add(1, token, offset)
                elif piece.kind == "fail":
                    job.results.fail(piece.item)
                else:
                    job.results.add(piece.n, piece.item, piece.offset)

        if job.by_meta and job.sequencer.finished:
            failures, ready = job.by_meta.flush()
            for failure in failures:
                if not isinstance(failure, KnownFailure):
                    if job.stamp.fail_fast and job.failure is None:
                        job.failure = failure_text(failure)
                    failure = KnownFailure(0, 0, None, failure)
                job.results.fail(failure)
            for token, offset in ready:
                job.results.add(1, token, offset)

    def _fail_job(self, stamp: Stamp, kind: str, error: str) -> None:
        message = to_broker.JobFailed(
            incarnation=self.me, job=stamp.job, epoch=stamp.epoch, kind=kind, error=error
        )
        self.effects.append(Control(message))

    # -- clients ------------------------------------------------------------------------------
    def want(self, client: bytes, want: Want, now: float) -> None:
        """A client asks for results."""
        job = self.jobs.get(want.job)
        if job is None:
            if want.job in self.ended:
                self._refuse(client, want, NOT_KEPT)
            else:
                self._waiting.setdefault(want.job, {})[client] = want
                if len(self._waiting) > MAX_WAITING:
                    del self._waiting[next(iter(self._waiting))]  # its client asks again
            return
        reader = job.reader
        if reader is not None and want.token < reader.token:
            self._refuse(client, want, "superseded")
            return
        first, limit = want.first, want.limit
        if first < 0:  # from the cursor on, which this client does not know yet
            first, limit = job.cursor, job.cursor + want.limit
        if reader is None or want.token > reader.token or reader.client != client:
            if reader is not None and reader.client != client:
                self._refuse(reader.client, Want(want.job, reader.token, 0, 0), "superseded")
            reader = job.reader = JobReader(client, want.token, first, 0)
        elif first < reader.next and (want.first < 0 or reader.limit == limit):
            # Asked again with the same limit: what was on the way is lost, or still on it; the
            # client drops copies.
            reader.next = first
        reader.told_total = False
        job.cursor = max(job.cursor, min(want.taken, job.released))
        if job.cursor > job.noted[1] and now >= job.noted[0] + NOTE_CURSOR:
            job.noted = (now, job.cursor)
            self.effects.append(Note(want.job, None, job.cursor))
        self._busy[want.job] = None
        reader.limit = max(reader.limit, limit)
        self._settle(now)

    def _refuse(self, client: bytes, want: Want, problem: str) -> None:
        self.effects.append(Deliver(client, Results(want.job, want.token, 0, 0, problem=problem), []))

    def _serve(self, name: bytes, job: SinkJob) -> None:
        reader = job.reader
        if reader is None:
            return
        while reader.next < min(reader.limit, job.servable):
            self._serve_one(name, job, reader)
        if job.over and reader.next >= job.released and not reader.told_total:
            reader.told_total = True
            results = Results(name, reader.token, reader.next, 0, total=job.released)
            self.effects.append(Deliver(reader.client, results, []))

    def _serve_one(self, name: bytes, job: SinkJob, reader: JobReader) -> None:
        first = reader.next
        stop = min(reader.limit, job.servable, first + MAX_SEGMENT)
        pieces, fails, own = job.results.between(first, stop)
        total = job.released if job.over and stop == job.released else None
        reader.told_total = total is not None
        results = Results(name, reader.token, first, stop - first, fails=own, total=total)
        reader.next = stop
        self.effects.append(Deliver(reader.client, results, pieces, fails))

    # -- time ---------------------------------------------------------------------------------
    def _settle(self, now: float) -> None:
        for name in list(self._busy):
            job = self.jobs[name]
            self._release(job)
            blame = job.sequencer.nondeterministic or job.failure
            if blame is not None and now >= job.report_at:
                job.report_at = now + REPORT_AFTER
                kind = "NondeterministicStage" if job.sequencer.nondeterministic else "JobFailed"
                self._fail_job(job.stamp, kind, blame)
            elif job.complete and not job.confirmed and not job.unsafe and now >= job.report_at:
                job.report_at = now + REPORT_AFTER
                complete = to_broker.Complete(
                    incarnation=self.me, job=name, epoch=job.stamp.epoch, results=job.good, failed=job.failed
                )
                self.effects.append(Control(complete))
            if job.reader is not None:
                self._serve(name, job)
            crowded = not job.complete and job.unread > self.share
            if crowded and now >= job.pause_at:
                job.pause_at = now + PAUSE_EVERY
                self.effects.append(
                    Control(to_broker.Pause(incarnation=self.me, job=name, epoch=job.stamp.epoch))
                )
            if not crowded and blame is None and (not job.complete or job.confirmed):
                del self._busy[name]
        if self._recovered and now >= self._tell_at and self.joined:
            self._tell_at = now + RECOVERED_EVERY
            message = to_broker.Recovered(
                incarnation=self.me, jobs=tuple(self._ranks()), damaged=tuple(self._damaged)
            )
            self.effects.append(Control(message))
        if not self.paused:
            self.receivers.grant(MAX_WINDOW * len(self.receivers.links), now)
        self.receivers.flush(now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times = []
        for name in self._busy:
            job = self.jobs[name]
            done = job.complete and not job.confirmed and not job.unsafe
            if done or job.sequencer.nondeterministic or job.failure:
                times.append(job.report_at)
            elif job.unread > self.share:
                times.append(job.pause_at)
        if self._recovered and self.joined:
            times.append(self._tell_at)
        if (due := self.ended.deadline()) is not None:
            times.append(due)
        if (due := self.receivers.deadline()) is not None:
            times.append(due)
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.effects.extend(self.ended.say(now))
        self._settle(now)

    @property
    def idle(self) -> bool:
        """Nothing is being stored and nothing is unconfirmed."""
        done = all(job.confirmed for job in self.jobs.values() if job.complete)
        return not self._storing and not self._recovered and done

    def snapshot(self) -> dict[bytes, tuple[int, int, int, int]]:
        """Job -> results released so far, failed tasks, and what waits for its order."""
        return {
            name: (job.good, job.failed, job.sequencer.buffered, 0)
            for name, job in self.jobs.items()
            if not job.confirmed
        }

    def known(self) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of each job here: a newer stamp may have got lost."""
        return self._ranks() + self.receivers.waited_for()

    def _ranks(self) -> list[tuple[bytes, int, int]]:
        return [(name, *job.stamp.rank) for name, job in self.jobs.items()]

    def check(self) -> None:
        """Assert every invariant."""
        self.receivers.check()
        for job in self.jobs.values():
            assert list(job.results.firsts) == sorted(set(job.results.firsts))
            assert job.cursor <= job.released
