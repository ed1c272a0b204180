"""The worker's machine: tasks in by its receivers, through user code, out by its senders.

A plain stage queues input batches, hands them to the user's code one by one, and acks each when
nothing that came of it is un-acked (custody). An ordered stage has a sequencer per job before its
code: it takes everything in at once, acks it at once, and releases in order; if this process is
lost, the broker starts its jobs over.

ENDs and FAILs do not travel through plain stages: they go straight to the next sequencer, who takes
a job's items in any order.

When a task runs much longer than those before it, or this worker is told to leave, what was not
started is given back to its senders, for others to run.
"""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.core.effects import Control, EndJob, Exit, Run, Work
from zturbo.core.links.credit import MAX_WINDOW
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.order.sequencer import Sequencer
from zturbo.core.worker.queue import Slice
from zturbo.core.worker.state import Produced, WorkerJob, WorkerState
from zturbo.errors import DecodeError
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import View
from zturbo.wire.messages import Batch, DataMessage, Greet, Path, Probe, Stamp, Statement
from zturbo.wire.payload import failure_text

__all__ = ["MAX_WORK", "Produced", "WorkerMachine"]

MAX_WORK = 512
"""Tasks that an ordered stage hands to its code at once."""

GIVE_BACK_AFTER = 0.25
"""Seconds that a task runs at least before what is queued behind it is given back."""

REPORT_EVERY = 1.0
"""Seconds between two reports of held roots that no broker has confirmed."""


class WorkerMachine(WorkerState):
    """One worker: its events."""

    # -- control ------------------------------------------------------------------------------
    def view(self, view: View, now: float) -> None:
        """The broker's word on who lives."""
        if view.number < self.receivers.view.number:
            return
        if self.me in view.members:
            self.joined = self.joined or view.number
        elif self.joined:
            self.effects.append(Exit("the broker's view is without this worker", 3))
            return
        gone = set(self.receivers.set_view(view))
        gone.discard(self._broker)
        if gone:
            self._forget_senders(gone)
        members = view.members.values()
        downstream = [
            m for m in members if m.role == "sink" or (m.pipeline == self.pipeline and m.stage > self.stage)
        ]
        same = [m for m in members if m.pipeline == self.pipeline and m.stage == self.stage]
        self._peers = len(same) > 1
        self.senders.set_view(view, downstream, now)
        broker = next((m.incarnation for m in members if m.role == "broker"), b"")
        if broker and broker != self._broker:
            # Also the first one: it may know this worker from its ledger, and wait for its report.
            self._adopt(broker, now)
            self._broker = broker
        self._settle(now)

    def _forget_senders(self, gone: set[bytes]) -> None:
        self.queue.drop(lambda batch: batch.source in gone)
        for key in self.custody.keys():
            if key[0] in gone:
                self.custody.forget(key)
        self.returned = {key: value for key, value in self.returned.items() if key[0] not in gone}

    def _adopt(self, broker: bytes, now: float) -> None:
        """The broker is another: go on with the roots that this worker had of the old one, if any."""
        for (sender, _), (key, tasks) in list(self.returned.items()):
            if sender == self._broker:
                self.custody.release((key,), tasks)  # it is not in the report, and so goes again
        self.returned = {key: value for key, value in self.returned.items() if key[0] != self._broker}
        self._ack_zeroed(now)
        items = self.held.adopt(broker)
        link = self.receivers.adopt(broker, len(items))
        tasks = sum(item[3] for item in items)
        nbytes = sum(item[4] for item in items)
        link.window.allow(tasks, nbytes)
        here = [part for part in self.queue.parts() if self.held.now(part.key)[0] == broker]
        owed = [late for parts in self.late for late in parts]
        owed += [(key, tasks, nbytes) for key, (tasks, nbytes) in self.open.items()]
        owed = [part for part in owed if self.held.now(part[0])[0] == broker]
        tasks -= sum(part.n for part in here) + sum(part[1] for part in owed)
        nbytes -= sum(part.nbytes for part in here) + sum(part[2] for part in owed)
        link.window.leave(tasks, nbytes)
        self._report = to_broker.Held(incarnation=self.me, broker=broker, items=tuple(items))
        self._report_at = now

    def control(self, message: Message, now: float) -> None:
        """The broker's word."""
        match message:
            case from_broker.Welcome(view=view) | from_broker.NewView(view=view):
                self.view(view, now)
            case from_broker.NewStamp(stamp=stamp):
                self.stamp(stamp, now)
            case from_broker.Forget(jobs=jobs):
                self.forget(jobs, now)
            case from_broker.AskEntered(job=job, epoch=epoch):
                self.ask_entered(job, epoch, now)
            case from_broker.HeldOk(broker=broker):
                self.held_ok(broker)

    def held_ok(self, broker: bytes) -> None:
        """The broker knows what is held here."""
        if self._report is not None and self._report.broker == broker:
            self._report = None

    def ask_entered(self, name: bytes, epoch: int, now: float) -> None:
        """A restarted broker asks which roots have wholly entered this job's sequencer."""
        job = self.jobs.get(name)
        roots = job.entry.entered() if job and job.entry and job.stamp.epoch == epoch else []
        message = to_broker.Entered(incarnation=self.me, job=name, epoch=epoch, roots=tuple(roots))
        self.effects.append(Control(message))

    def stamp(self, stamp: Stamp, now: float) -> None:
        """The broker has decided something new about a job: a higher epoch, a mark, another sink."""
        if stamp.job in self.jobs:
            self._accept_stamp(stamp, now)
            self._settle(now)

    def forget(self, jobs: Sequence[bytes], now: float) -> None:
        """These jobs have ended."""
        for job in jobs:
            counts = None
            if job in self.jobs:
                self._purge(job, now)
                state = self.jobs.pop(job)
                counts = (state.stamp.epoch, state.done, state.failures)
                self.senders.forget(job)
                self.effects.append(EndJob(job))
            self.ended.add(job, counts, now)
        self._settle(now)

    def drain(self, now: float) -> None:
        """Finish what runs, give the rest back, take nothing new."""
        self.draining = True
        self.effects.append(Control(to_broker.Draining(incarnation=self.me)))
        if not self.ordered:
            self._give_back(now)
        self._settle(now)

    @property
    def idle(self) -> bool:
        """Nothing is held here on anybody's behalf."""
        return (
            not self.queue
            and not self.handed
            and not len(self.custody)
            and self.senders.idle
            and (not self.ordered or all(job.finished for job in self.jobs.values()))
        )

    # -- data ---------------------------------------------------------------------------------
    def data(self, message: DataMessage, now: float) -> None:
        """A message from a peer."""
        if type(message) is Batch:
            self._batch(message, now)
        elif type(message) is Statement:
            self.senders.statement(message, now)
        elif type(message) is Probe:
            for number, _ in self.receivers.probe(message, now):
                entry = self.returned.pop((message.source, number), None)
                if entry is not None:
                    self.custody.release((entry[0],), entry[1])
        elif type(message) is Greet:
            self.receivers.greet(message, now)
        else:
            self.counters.bad += 1
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
        if batch.stamp is not None and batch.job not in self.ended:
            self._accept_stamp(batch.stamp, now)
        job = self.jobs.get(batch.job)
        wrong = batch.stage != self.stage or (not self.ordered and batch.size != batch.n)
        if job is None or batch.epoch < job.stamp.epoch or wrong:
            self.counters.stale += batch.size
            self.counters.bad += wrong
            link.window.leave(batch.size, batch.nbytes)
            link.ack(batch.number, now)
            return
        if self.ordered:
            self._enter(job, batch)
            link.window.leave(batch.size, batch.nbytes)
            link.ack(batch.number, now)
        else:
            self.custody.admit((batch.source, batch.number), batch.n)
            if batch.n:
                self.queue.add(batch)
                if batch.source == self._broker:
                    self.held.note(batch)
                if self._given_back:
                    self._give_back(now)

    def _accept_stamp(self, stamp: Stamp, now: float) -> None:
        job = self.jobs.get(stamp.job)
        if job is not None and stamp.rank <= job.stamp.rank:
            return
        if job is None or stamp.epoch > job.stamp.epoch:
            if job is None:
                self._ring.append(stamp.job)
            else:
                self._purge(stamp.job, now)
                self.effects.append(EndJob(stamp.job))
            entry = Sequencer() if self.ordered else None
            job = self.jobs[stamp.job] = WorkerJob(stamp, entry)
        job.stamp = stamp
        job.marks = tuple(mark for mark in stamp.marks if mark.stage == self.stage)
        job.suspects = frozenset(mark.path for mark in job.marks if not mark.kind)
        self.senders.stamp(stamp)

    def _purge(self, job: bytes, now: float) -> None:
        """Old epochs leave no debt: what is queued of the job is acked and dropped."""
        self.waiting.forget(job)
        for part in self.queue.drop(lambda batch: batch.job == job):
            self.counters.stale += part.n
            self._leave(part.key, part.n, part.nbytes)
            self.custody.forget(part.key)
            self._ack(part.key, now)

    def _enter(self, job: WorkerJob, batch: Batch) -> None:
        entry = job.entry
        assert entry is not None
        offset = taken = 0
        try:
            for first, n in batch.runs:
                taken += entry.enter_run(first, n, batch, offset)
                offset += n
            for end in batch.ends:
                entry.enter_end(end.path, end.count, None)
            for fail in batch.fails:
                error = self.waiting.failure(batch.job, fail.error)
                new = entry.enter_fail(fail.path, fail.count, error)
                if not new:
                    self.waiting.no_failure(batch.job, error)
                elif job.stamp.fail_fast and job.failure is None:
                    job.failure = failure_text(fail.error)
        except DecodeError:
            self.counters.bad += 1
        if taken:
            self.waiting.add(batch, taken)
        if entry.nondeterministic or job.failure:
            self._blamed.setdefault(batch.job, 0.0)

    def _blame(self, now: float) -> None:
        """Tell the broker of jobs that cannot be whole, until it ends them."""
        for name, at in list(self._blamed.items()):
            job = self.jobs.get(name)
            blame = None if job is None or job.entry is None else job.entry.nondeterministic or job.failure
            if job is None or job.entry is None or not blame:
                del self._blamed[name]
            elif now >= at:
                self._blamed[name] = now + REPORT_EVERY
                kind = "NondeterministicStage" if job.entry.nondeterministic else "JobFailed"
                message = to_broker.JobFailed(
                    incarnation=self.me, job=name, epoch=job.stamp.epoch, kind=kind, error=blame
                )
                self.effects.append(Control(message))

    # -- user code ----------------------------------------------------------------------------
    def produced(self, out: Produced, now: float) -> None:
        """The user's code gave something, or finished something, or both."""
        if out.tasks or out.works:
            self._moved_at = now
            self._given_back &= not (out.works or self.concurrency)
        for work in out.works:
            at = next(at for at, other in enumerate(self.handed) if other is work)
            del self.handed[at]
            for key, tasks, nbytes in self.late[at]:
                self._leave(key, tasks, nbytes)
            del self.late[at]
            self._alone = False
        for origin, tasks in out.done:
            if origin in self.open:
                self._shut(origin, tasks)
        self.meter.add(out.tasks, out.seconds)
        job = self.jobs.get(out.job)
        if job is not None and job.stamp.epoch == out.epoch:
            if out.batch is not None:
                job.given += _given(out.batch, self.ordered)
                job.failed += len(out.batch.fails)
                self._put(job.stamp, out)
            for origin, tasks in out.done:
                if origin is not None:
                    self.custody.release((origin,), tasks)
        else:  # its job was started over or has ended: nothing waits for what it gives
            for origin, _ in out.done:
                if origin is not None:
                    self.custody.forget(origin)
                    self._ack(origin, now)
        self._settle(now)

    def _put(self, stamp: Stamp, out: Produced) -> None:
        batch = out.batch
        assert batch is not None
        origins = tuple({origin for origin, _ in out.done if origin is not None})
        batch.job, batch.epoch, batch.stage = out.job, out.epoch, self.stage + 1
        below = self._destination(stamp, self.stage + 1)
        if batch.ends or batch.fails:
            after = min((stage for stage in stamp.ordered if stage > self.stage), default=self.stages)
            if after != self.stage + 1:
                marks = Batch(out.job, out.epoch, after, ends=batch.ends, fails=batch.fails)
                self.senders.put(OutBatch.of(marks, self._destination(stamp, after), origins))
                batch.ends, batch.fails = [], []
        if batch.size:
            self.senders.put(OutBatch.of(batch, below, origins))

    def _feed(self, now: float) -> None:
        """Give the user's code something to do: one piece running, one at hand if tasks are fast."""
        one = self.meter.slow or self.meter.mean is None or bool(self.queue.aside)
        while not self._alone and not self.senders.pressed:
            if self.concurrency:
                if self.running >= self.concurrency:
                    return
            else:
                enough = len(self.handed) >= (1 if one else 2)
                if enough and (self.queue.aside or sum(map(_size, self.handed)) >= 2 * self.batch):
                    return
            work = self._next_sequenced() if self.ordered else self._next_queued()
            if work is None:
                return
            if not self.handed:
                self._moved_at = now
            self.handed.append(work)
            self.effects.append(Run(work))

    def _suspects(self, job: bytes) -> frozenset[Path]:
        return self.jobs[job].suspects

    def _next_queued(self) -> Work | None:
        part = self.queue.next(self._suspects)
        if part is None and not self.handed:
            part = self.queue.next_alone()
            self._alone = part is not None
        if part is None:
            return None
        if self.concurrency:
            tasks, nbytes = self.open.get(part.key, (0, 0))
            self.open[part.key] = (tasks + part.n, nbytes + part.nbytes)
            self.running += part.n
            self.late.append([])
        elif self.meter.slow or self.meter.mean is None:
            self.late.append([(part.key, part.n, part.nbytes)])
        else:
            self.late.append([])
            self._leave(part.key, part.n, part.nbytes)
        batch = part.batch
        job = self.jobs[batch.job]
        pieces = [(batch, part.start, part.stop)]
        return Work(batch.job, batch.epoch, pieces, part.key, [], logs=job.stamp.logs, marks=job.marks)

    def _next_sequenced(self) -> Work | None:
        for _ in range(len(self._ring)):
            name = self._ring[0]
            self._ring.rotate(-1)
            job = self.jobs.get(name)
            if job is None:
                self._ring.pop()
                continue
            entry = job.entry
            if entry is None or job.finished:
                continue
            released = entry.pop(MAX_WORK)
            final = entry.drained
            if not released and not final:
                continue
            job.finished = final
            pieces, fails = self.waiting.take(name, released)
            job.passing += len(fails)
            self.late.append([])
            return Work(name, job.stamp.epoch, pieces, None, fails, final, job.stamp.logs, job.marks)
        return None

    def reclaimed(self, work: Work, started: int, now: float) -> None:
        """This work stops before the task of this index, counted over its pieces."""
        batch, start, stop = work.pieces[-1]
        if start + started < stop and any(work is other for other in self.handed):
            rest = Slice(batch, start + started, stop)
            self._return(rest, now)
            if rest.key in self.open:
                self._shut(rest.key, rest.n)
            self._settle(now)

    # -- time ---------------------------------------------------------------------------------
    def _settle(self, now: float) -> None:
        """After each event: ack what came to zero, feed the code, give credit, send."""
        self.senders.pump(now)
        self._feed(now)
        self._ack_zeroed(now)
        if self._blamed:
            self._blame(now)
        paused = bool(self.queue.aside) or self._alone or self._given_back
        if not paused and (self.ordered or not self.draining):
            senders = len(self.receivers.links)
            window = max(self.meter.window(), self.batch * senders, self.concurrency * senders)
            self.receivers.grant(MAX_WINDOW * senders if self.ordered else window, now)
        self.receivers.turn(self._given_back, now)
        self.receivers.flush(now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times: list[float | None] = [
            self.receivers.deadline(),
            self.senders.deadline(),
            self._give_back_at(),
            self.ended.deadline(),
        ]
        if self._report is not None:
            times.append(self._report_at)
        times.extend(self._blamed.values())
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.senders.tick(now)
        self.senders.complain(now)
        self.effects.extend(self.ended.say(now))
        at = self._give_back_at()
        if at is not None and now >= at:
            self._give_back(now)
        if self._report is not None and now >= self._report_at:
            self._report_at = now + REPORT_EVERY
            self.effects.append(Control(self._report))
        self._settle(now)

    def reconnected(self, peer: bytes, now: float) -> None:
        """A connection to this peer came back."""
        self.senders.probe(peer, now)


def _size(work: Work) -> int:
    return sum(stop - start for _, start, stop in work.pieces)


def _given(batch: Batch, ordered: bool) -> int:
    """Outputs, failures and drops. An ordered stage's END of all has the path ``()``, and is no drop."""
    dropped = sum(not end.count and not (ordered and not end.path) for end in batch.ends)
    return batch.n + len(batch.fails) + dropped
