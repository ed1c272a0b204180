"""The sink's machine: the last sequencer of each job, and what its clients have got.

A batch is stored first. When it is as safe as the job's durability asks, it enters the job's sequencer and is
acked. So the spool is a log of entries in their order: reading it again gives the same state, and a copy is
acked only after a first one is safe. What the sequencer releases gets an index, 0, 1, ...; clients ask for
results by index (``readers.py``). The broker is told of a complete job until it confirms (``reports.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.core.deadlines import Deadlines
from zturbo.core.effects import Drop, Effect, Exit, Note, Store
from zturbo.core.links.credit import MAX_WINDOW
from zturbo.core.links.pings import report_ping, take_order
from zturbo.core.links.receiver import LinkReceiver
from zturbo.core.links.receivers import Receivers
from zturbo.core.member_jobs import MemberJobs
from zturbo.core.rounds import Rounds
from zturbo.core.sink.job import OriginOf, SinkJob, SinkJobState
from zturbo.core.sink.pace import Pace
from zturbo.core.sink.readers import Readers
from zturbo.core.sink.recovered import RecoveredSpool
from zturbo.core.sink.reports import Reports
from zturbo.core.sink.storing import Storing
from zturbo.wire.codec import BadBatch
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.fields import COUNT
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import View
from zturbo.wire.messages import Batch, DataMessage, Greet, Ping, Probe, Stamp, Want

__all__ = ["SinkMachine"]


class SinkMachine:
    """One sink. Its methods are its events, and its parts have its state.

    Args:
        me: incarnation.
        spool: id of its spool.
        share: bytes of unread results that a job may have before its sources are paused.
        origin_of: reads where a failure began.
        host: its name, for errors.
    """

    def __init__(
        self,
        me: bytes,
        spool: bytes = b"",
        share: int = 4 << 30,
        origin_of: OriginOf = lambda error: None,
        host: str = "",
    ) -> None:
        self.me = me
        self._spool = spool
        self._origin_of = origin_of
        self._host = host
        self.paused = False
        """Whether the disk is full: nothing new is taken."""
        self.effects: list[Effect] = []
        self.rounds = Rounds(self._settle)
        self.receivers = Receivers(me, self.effects)
        self.jobs: dict[bytes, SinkJob] = {}
        self._open: dict[bytes, SinkJob] = {}
        """Those of them whose end the broker has not confirmed. There may be very many others, of which
        results are kept."""
        self.known_jobs = MemberJobs(me, self.jobs, self.effects)
        self.ended = self.known_jobs.ended
        self.storing = Storing()
        self.readers = Readers(self.jobs, self.ended, self.effects)
        self.reports = Reports(me, self.effects, share)
        self.pace = Pace()
        self.recovery = RecoveredSpool(me, self.effects)
        self.joined = 0
        """Number of the first view that had this sink."""
        self.stale = 0
        """Tasks of ended jobs and of old epochs, which were acked and dropped."""
        self._busy: dict[bytes, None] = {}
        """Jobs that something has happened to since the last settling."""
        self._reports_due = Deadlines()

    # -- control ------------------------------------------------------------------------------
    def control(self, message: Message, now: float) -> None:
        """Take a message of the broker."""
        match message:
            case from_broker.Welcome(view=view) | from_broker.NewView(view=view):
                self.view(view, now)
            case from_broker.NewStamp(stamp=stamp):
                self.stamp(stamp, now)
            case from_broker.Forget(jobs=jobs):
                self.forget(jobs, now)
            case from_broker.Confirmed(jobs=jobs):
                self.confirm(jobs, now)
            case from_broker.AskEntered(job=job, epoch=epoch):
                self.known_jobs.say_entered(job, epoch)
            case from_broker.PingThem():
                take_order(self.me, message, self.effects)
            case from_broker.RecoveredOk():
                self.recovery.confirmed()

    def view(self, view: View, now: float) -> None:
        """Take a view: the members that the broker knows to live."""
        if view.number < self.receivers.view.number:
            return
        if self.me in view.members:
            self.joined = self.joined or view.number
        elif self.joined:
            self.effects.append(Exit("the broker's view is without this sink", 3))
            return
        self.receivers.set_view(view)
        self.rounds.event(now)

    def stamp(self, stamp: Stamp, now: float) -> None:
        """The broker stamped a job for this sink, perhaps in a higher epoch."""
        known = self.jobs.get(stamp.job)
        if stamp.sink == self.me and stamp.job not in self.ended:
            self._accept_stamp(stamp, now)
            job = self.jobs[stamp.job]
            if job.stamp.epoch == stamp.epoch:
                self.reports.known_failures(job)
        elif known is not None and stamp.rank > known.stamp.rank and stamp.spool != self._spool:
            self._drop(stamp.job)
            self.effects.append(Drop(stamp.job))
        self.rounds.event(now)

    def forget(self, jobs: Sequence[bytes], now: float) -> None:
        """Forget these jobs and their results, as the broker says."""
        for name in jobs:
            counts, job = None, self.jobs.get(name)
            if job is not None:
                counts = (job.stamp.epoch, job.good, job.failed)
                self.readers.end(job)
                self._drop(name)
                self.effects.append(Drop(name))
            self.ended.add(name, counts, now)
        self.rounds.event(now)

    def confirm(self, jobs: Sequence[bytes], now: float) -> None:
        """The broker has the ends of these jobs in its ledger."""
        for name in jobs:
            job = self.jobs.get(name)
            if job is not None and job.state is SinkJobState.COMPLETE:
                job.move(SinkJobState.CONFIRMED)
                del self._open[name]
                self._busy[name] = None
        self.rounds.event(now)

    def _drop(self, job: bytes) -> None:
        """Forget all that is known of a job, if anything is. Its spool is not touched."""
        self.jobs.pop(job, None)
        self._open.pop(job, None)
        self._busy.pop(job, None)
        self._reports_due.drop(job)
        self.readers.drop(job)

    # -- data ---------------------------------------------------------------------------------
    def data(self, message: DataMessage, now: float) -> None:
        """Take a message of a peer. A message of a kind that is not for sinks is dropped."""
        if type(message) is Batch:
            self._batch(message, now)
        elif type(message) is Probe:
            self.receivers.probe(message, now)
        elif type(message) is Greet:
            self.receivers.greet(message, now)
        elif type(message) is Ping:
            report_ping(self.me, message, self.effects)
        self.rounds.event(now)

    def unreadable(self, bad: BadBatch, now: float) -> None:
        """A batch came of which only the head can be read, or a part only."""
        link = self.receivers.unreadable(bad, self.known_jobs.is_over, now)
        if link is not None:
            for part in bad.riders:
                self._part(link, part, now)
        self.rounds.event(now)

    def _batch(self, batch: Batch, now: float) -> None:
        link = self.receivers.batch(batch, now)
        if link is not None:
            for part in batch.apart():
                self._part(link, part, now)

    def _part(self, link: LinkReceiver, batch: Batch, now: float) -> None:
        link.window.leave(batch.size, batch.nbytes)
        if batch.stamp is not None and batch.job not in self.ended and batch.stamp.sink == self.me:
            self._accept_stamp(batch.stamp, now)
        job = self.jobs.get(batch.job)
        if job is None or batch.epoch < job.stamp.epoch:
            self.stale += batch.size
            link.ack(batch.number, now, batch.sub)
            return
        token = self.storing.begin(batch)
        self.effects.append(Store(batch.job, token, batch, job.stamp.durability))

    def _accept_stamp(self, stamp: Stamp, now: float, *, note: bool = True) -> None:
        job = self.jobs.get(stamp.job)
        if job is not None and stamp.rank <= job.stamp.rank:
            return
        if note:
            self.effects.append(Note(stamp.job, stamp, 0))
        if job is None:
            self.jobs[stamp.job] = self._open[stamp.job] = SinkJob.of(stamp, self._host)
            for client, want in self.readers.begin(stamp.job):
                self.want(client, want, now)
            return
        if stamp.epoch > job.stamp.epoch:
            self._enter_early(job, now)
            job.start_over(stamp)
            self._open[stamp.job] = job
        else:
            job.stamp = stamp
        self._busy[stamp.job] = None

    def _enter_early(self, job: SinkJob, now: float) -> None:
        """A job is about to start over: let the batches that are being stored enter in its old epoch.

        The spool has them there, so a sink that reads it later keeps the same prefix. Results from such
        batches are given out when the batches are safe.
        """
        if not job.unsafe:
            job.shown = job.released
        for token, batch in self.storing.of(job.stamp.job, job.stamp.epoch):
            job.unsafe.add(token)
            self._enter(job, token, batch, now)

    def stored(self, tokens: list[int], now: float) -> None:
        """These batches are as safe as they need to be."""
        for token in tokens:
            batch = self.storing.end(token)
            job = self.jobs.get(batch.job)
            if job is not None and token in job.unsafe:
                job.unsafe.remove(token)
                self._busy[batch.job] = None
            elif job is not None and batch.epoch >= job.stamp.epoch:
                self._enter(job, token, batch, now)
            else:
                self.stale += batch.size
            self.receivers.ack(batch.key, now)
        self.rounds.event(now)

    def _enter(self, job: SinkJob, token: int, batch: Batch, now: float) -> None:
        self._busy[job.stamp.job] = None
        job.enter(token, batch, self._origin_of, now)

    # -- the spool of an earlier incarnation --------------------------------------------------
    def recovered(self, token: int, batch: Batch, now: float) -> None:
        """A batch was read from the spool; batches come in the order in which they were stored."""
        self.storing.recovered(token)
        if batch.stamp is not None:
            self._accept_stamp(batch.stamp, now, note=False)
        job = self.jobs.get(batch.job)
        if job is not None and batch.epoch >= job.stamp.epoch and batch.size:
            self._enter(job, token, batch, now)

    def recovered_cursor(self, name: bytes, taken: int, freed: int = 0) -> None:
        """How far a job's results had been taken, and which were let go, as the spool has it."""
        job = self.jobs.get(name)
        if job is not None:
            job.take(max(taken, freed))
            job.free(min(freed, job.cursor))
            job.gone = job.freed

    def gone(self, name: bytes, index: int) -> None:
        """Contents of a job's results below this index, which nobody needs, are not here any more."""
        job = self.jobs.get(name)
        if job is not None:
            job.gone = max(job.gone, index)

    def freed(self, name: bytes) -> list[tuple[int, int, int]]:
        """(token, start, stop) of a job's results that nobody needs any more."""
        job = self.jobs.get(name)
        return [] if job is None else job.let_go()

    def recovery_done(self, damaged: list[bytes], now: float) -> None:
        """All of the spool was read; these jobs' files were damaged, and are gone."""
        for job in damaged:
            self._drop(job)
        self.recovery.read(damaged, now)

    def durability(self, name: bytes) -> str:
        """How safe a job's batches had to be before they were acked."""
        job = self.jobs.get(name)
        return "fsync" if job is None else job.stamp.durability

    # -- clients ------------------------------------------------------------------------------
    def want(self, client: bytes, want: Want, now: float) -> None:
        """A client asks for results."""
        if (job := self.readers.want(client, want, now)) is not None:
            self._busy[job] = None
            self.rounds.event(now)

    # -- time ---------------------------------------------------------------------------------
    def _settle(self, now: float) -> None:
        """Do what follows from events: release, report and serve what is due, give credit, send."""
        for name in self._busy:
            job = self.jobs[name]
            job.release()
            self.reports.outcome(job, now)
            self.readers.serve(job)
            self.reports.crowding(job, now)
            self.reports.trimming(job, now)
            if (at := self.reports.deadline(job)) is None:
                self._reports_due.drop(name)
            else:
                self._reports_due.set(name, at)
        self._busy.clear()
        self.reports.say_complete()
        if self.joined:
            self.recovery.tell(self.known_jobs.ranks, now)
        if not self.pace.pauses(now) and not self.paused:  # a pause ends also while the disk is full
            self.receivers.grant(MAX_WINDOW * len(self.receivers.links), now)
        self.receivers.flush(now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times = [self._reports_due.first(), self.ended.deadline(), self.receivers.deadline()]
        times.append(self.pace.deadline())
        if self.joined:
            times.append(self.recovery.deadline())
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.effects.extend(self.ended.say(now))
        self._busy.update(dict.fromkeys(self._reports_due.due(now)))
        self.rounds.event(now)

    # -- for others ---------------------------------------------------------------------------
    @property
    def idle(self) -> bool:
        """Nothing is being stored, and the broker knows all that it is to know."""
        unconfirmed = any(job.unconfirmed for job in self._open.values())
        return not len(self.storing) and not self.recovery.untold and not unconfirmed

    def progress(self) -> to_broker.Progress:
        """Of each job: results released so far, failed tasks, what waits for its order, and bytes of the
        spool. Of those with order ``roots`` that go on, the roots that have ended too."""
        counts = {
            name: (job.good, job.failed, job.sequencer.buffered, min(COUNT, job.spooled))
            for name, job in self._open.items()
        }
        ended = {
            name: (job.stamp.epoch, numbers)
            for name, job in self._open.items()
            if not job.complete and (numbers := job.ends.numbers(job.servable))
        }
        return to_broker.Progress(incarnation=self.me, counts=counts, ended=ended)

    def load(self) -> tuple[int, int]:
        """(results that wait for their order; results that no client has taken), of jobs that go on."""
        jobs = self._open.values()
        unread = sum(max(0, job.released - job.cursor) for job in jobs)
        return sum(job.sequencer.buffered for job in jobs), unread

    def known(self, after: int, most: int) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of so many jobs, after so many others. A newer stamp may have got lost."""
        return self.known_jobs.named(after, most, self.receivers.waited_for())

    def check(self) -> None:
        """Assert every invariant."""
        self.receivers.check()
        assert self._open == {name: job for name, job in self.jobs.items() if not job.confirmed}
        for job in self.jobs.values():
            assert list(job.results.firsts) == sorted(set(job.results.firsts))
            assert job.cursor <= job.released
