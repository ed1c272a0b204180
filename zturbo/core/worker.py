"""The worker's machine: tasks in by its inlet, through user code, out by its outlet.

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

from collections import OrderedDict, deque
from dataclasses import dataclass

from zturbo.core.counts import waiting_and_running
from zturbo.core.credit import MAX_WINDOW, Meter
from zturbo.core.custody import Custody
from zturbo.core.effects import Control, Effect, EndJob, Exit, Reclaim, Run, Work
from zturbo.core.held import HeldRoots, InputKey
from zturbo.core.inlet import Inlet
from zturbo.core.outlet import Outlet
from zturbo.core.parcel import Destination, Parcel
from zturbo.core.queue import InputQueue, Slice
from zturbo.core.sequencer import Sequencer
from zturbo.core.waiting import SPILL_BYTES, Waiting
from zturbo.errors import DecodeError
from zturbo.wire.control import View
from zturbo.wire.messages import Batch, DataMessage, Greet, Mark, Path, Probe, Stamp, Statement
from zturbo.wire.payload import failure_text

__all__ = ["MAX_WORK", "Produced", "WorkerMachine"]

MAX_WORK = 512
"""Tasks that an ordered stage hands to its code at once."""

REMEMBERED = 100_000
"""Ended jobs that are remembered, so that a late copy of their tasks is known as such."""

GIVE_BACK_AFTER = 0.25
"""Seconds that a task runs at least before what is queued behind it is given back."""

REPORT_EVERY = 1.0
"""Seconds between two reports of held roots that no broker has confirmed."""


@dataclass(slots=True)
class Produced:
    """What the user's code gave, of one job and epoch."""

    job: bytes
    epoch: int
    done: list[tuple[InputKey | None, int]]
    """(origin, tasks of it that are finished): of everything that has a part in the batch."""
    batch: Batch | None
    """Children, ENDs and FAILs; None if there are none."""
    tasks: int = 0
    """Tasks finished."""
    seconds: float = 0.0
    """What they took."""
    works: tuple[Work, ...] = ()
    """Pieces of work that are finished with this."""


@dataclass(slots=True)
class _Job:
    stamp: Stamp
    entry: Sequencer | None = None
    marks: tuple[Mark, ...] = ()
    """Those of this stage."""
    suspects: frozenset[Path] = frozenset()
    finished: bool = False
    """At an ordered stage: the final work has been handed out."""
    given: int = 0
    """Outputs, failures and drops: a generator that is still running shows too."""
    failed: int = 0
    """Failures among them."""
    passing: int = 0
    """Failures of stages above that were handed to the code of an ordered stage, to pass by."""
    failure: str | None = None
    """Why the job is to end, if it has fail_fast: the first failure here, in a sentence."""

    @property
    def failures(self) -> int:
        """Failures that began here."""
        return max(0, self.failed - self.passing)


@dataclass(slots=True)
class _Counters:
    stale: int = 0
    """Tasks of an old epoch or an ended job, acked and dropped."""
    bad: int = 0
    """Items that no correct sender sends, dropped."""
    returned: int = 0
    """Tasks that were given back."""


class WorkerMachine:
    """One worker.

    Args:
        me: incarnation.
        pipeline: name of its pipeline.
        stage: index of its stage, from 0.
        stages: how many stages the pipeline has.
        ordered: whether a sequencer precedes its code, as it does where the stage is sticky.
        host: name of its host, as members of the view have it.
        spill_bytes: bytes that may wait for their order in memory.
        batch: tasks that the code takes at once; 0 for one by one.
        batch_wait: seconds that it waits for so many.
        concurrency: tasks that the code runs at a time, and finishes in any order; 0 for one by one.
    """

    def __init__(
        self,
        me: bytes,
        *,
        pipeline: str,
        stage: int,
        stages: int,
        ordered: bool,
        host: str = "",
        spill_bytes: int = SPILL_BYTES,
        batch: int = 0,
        batch_wait: float = 0.0,
        concurrency: int = 0,
    ) -> None:
        self.me = me
        self.pipeline = pipeline
        self.stage = stage
        self.stages = stages
        self.ordered = ordered
        self.effects: list[Effect] = []
        self.custody: Custody[InputKey] = Custody()
        self.inlet = Inlet(me, self.effects)
        self.outlet = Outlet(me, host, self.custody, self.effects)
        self.meter = Meter()
        self.batch = batch
        self.concurrency = concurrency
        self._patience = GIVE_BACK_AFTER + batch_wait
        self.jobs: dict[bytes, _Job] = {}
        self.ended: OrderedDict[bytes, None] = OrderedDict()
        self.queue = InputQueue()
        self.waiting = Waiting(self.effects, spill_bytes)
        self.held = HeldRoots(self.custody)
        self.handed: deque[Work] = deque()
        """Work that the user's code has and has not finished."""
        self.late: deque[list[tuple[InputKey, int, int]]] = deque()
        """(input, tasks, bytes) whose credit comes back when the work of the same place is finished."""
        self.open: dict[InputKey, tuple[int, int]] = {}
        """Where tasks are finished in any order: input -> (tasks, bytes) that the code has of it."""
        self.running = 0
        """How many tasks these are."""
        self.returned: dict[InputKey, tuple[InputKey, int]] = {}
        """(sender, batch) -> (input, tasks of it that are given back and not yet known to be taken)."""
        self.joined = 0
        """Number of the first view that had this worker."""
        self.draining = False
        self.counters = _Counters()
        self._ring: deque[bytes] = deque()
        self._gone: dict[bytes, tuple[int, ...]] = {}
        """What ended jobs have been given here, until that is told."""
        self._blamed: dict[bytes, float] = {}
        """Job that the broker is to end -> when that is said again."""
        self._broker = b""
        self._peers = False
        """Whether there are other workers of this stage."""
        self._alone = False
        """Whether a suspect runs."""
        self._moved_at = 0.0
        """When the code was last given something, or gave something."""
        self._given_back = False
        """Whether what is behind the running task was given back already."""
        self._report: Control | None = None
        self._report_at = 0.0

    # -- control ------------------------------------------------------------------------------
    def view(self, view: View, now: float) -> None:
        """The broker's word on who lives."""
        if view.number < self.inlet.view.number:
            return
        if self.me in view.members:
            self.joined = self.joined or view.number
        elif self.joined:
            self.effects.append(Exit("the broker's view is without this worker", 3))
            return
        gone = set(self.inlet.set_view(view))
        gone.discard(self._broker)
        if gone:
            self._forget_senders(gone)
        members = view.members.values()
        downstream = [
            m for m in members if m.role == "sink" or (m.pipeline == self.pipeline and m.stage > self.stage)
        ]
        same = [m for m in members if m.pipeline == self.pipeline and m.stage == self.stage]
        self._peers = len(same) > 1
        self.outlet.set_view(view, downstream, now)
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
        link = self.inlet.adopt(broker, len(items))
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
        self._report = Control({"type": "held", "incarnation": self.me, "broker": broker, "items": items})
        self._report_at = now

    def held_ok(self, broker: bytes) -> None:
        """The broker knows what is held here."""
        if self._report is not None and self._report.message["broker"] == broker:
            self._report = None

    def ask_entered(self, name: bytes, epoch: int, now: float) -> None:
        """A restarted broker asks which roots have wholly entered this job's sequencer."""
        job = self.jobs.get(name)
        roots = job.entry.entered() if job and job.entry and job.stamp.epoch == epoch else []
        message = {"type": "entered", "incarnation": self.me, "job": name, "epoch": epoch, "roots": roots}
        self.effects.append(Control(message))

    def stamp(self, stamp: Stamp, now: float) -> None:
        """The broker has decided something new about a job: a higher epoch, a mark, another sink."""
        if stamp.job in self.jobs:
            self._accept_stamp(stamp, now)
            self._settle(now)

    def forget(self, jobs: list[bytes], now: float) -> None:
        """These jobs have ended."""
        for job in jobs:
            self.ended[job] = None
            if job in self.jobs:
                self._purge(job, now)
                state = self.jobs.pop(job)
                if state.given:
                    self._gone[job] = (state.given, state.failures, 0, 0)
                self.outlet.forget(job)
                self.effects.append(EndJob(job))
        while len(self.ended) > REMEMBERED:
            self.ended.popitem(last=False)
        self._settle(now)

    def drain(self, now: float) -> None:
        """Finish what runs, give the rest back, take nothing new."""
        self.draining = True
        self.effects.append(Control({"type": "draining", "incarnation": self.me}))
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
            and self.outlet.idle
            and (not self.ordered or all(job.finished for job in self.jobs.values()))
        )

    # -- data ---------------------------------------------------------------------------------
    def data(self, message: DataMessage, now: float) -> None:
        """A message from a peer."""
        if type(message) is Batch:
            self._batch(message, now)
        elif type(message) is Statement:
            self.outlet.statement(message, now)
        elif type(message) is Probe:
            for number, _ in self.inlet.probe(message, now):
                entry = self.returned.pop((message.source, number), None)
                if entry is not None:
                    self.custody.release((entry[0],), entry[1])
        elif type(message) is Greet:
            self.inlet.greet(message, now)
        else:
            self.counters.bad += 1
        self._settle(now)

    def _batch(self, batch: Batch, now: float) -> None:
        link = self.inlet.batch(batch, now)
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
            job = self.jobs[stamp.job] = _Job(stamp, entry)
        job.stamp = stamp
        job.marks = tuple(mark for mark in stamp.marks if mark.stage == self.stage)
        job.suspects = frozenset(mark.path for mark in job.marks if not mark.kind)
        self.outlet.stamp(stamp)

    def _purge(self, job: bytes, now: float) -> None:
        """Old epochs leave no debt: what is queued of the job is acked and dropped."""
        self.waiting.forget(job)
        for part in self.queue.drop(lambda batch: batch.job == job):
            self.counters.stale += part.n
            self._leave(part.key, part.n, part.nbytes)
            self.custody.forget(part.key)
            self._ack(part.key, now)

    def _leave(self, key: InputKey, tasks: int, nbytes: int) -> None:
        self.inlet.leave(self.held.now(key)[0], tasks, nbytes)

    def _ack(self, key: InputKey, now: float) -> None:
        """Nothing of this input is un-acked, or nobody wants it any more."""
        self.inlet.ack(*self.held.now(key), now)
        self.returned.pop(self.held.now(key), None)
        self.held.done(key)

    def _enter(self, job: _Job, batch: Batch) -> None:
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
                message = {"type": "job_failed", "incarnation": self.me, "job": name}
                kind = "NondeterministicStage" if job.entry.nondeterministic else "JobFailed"
                why = {"kind": kind, "error": blame}
                self.effects.append(Control({**message, "epoch": job.stamp.epoch, **why}))

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
                job.given += _given(out.batch)
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

    def _shut(self, key: InputKey, tasks: int) -> None:
        """The code has so many tasks less of this input: their credit comes back."""
        left, nbytes = self.open.pop(key)
        tasks = min(tasks, left)
        self.running -= tasks
        if left > tasks:
            self.open[key] = (left - tasks, nbytes)
        self._leave(key, tasks, 0 if left > tasks else nbytes)

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
                self.outlet.put(Parcel.of(marks, self._destination(stamp, after), origins))
                batch.ends, batch.fails = [], []
        if batch.size:
            self.outlet.put(Parcel.of(batch, below, origins))

    def _destination(self, stamp: Stamp, stage: int) -> Destination:
        return stamp.after(stage, self.stages) or (self.pipeline, stage)

    def _feed(self, now: float) -> None:
        """Give the user's code something to do: one piece running, one at hand if tasks are fast."""
        one = self.meter.slow or self.meter.mean is None or bool(self.queue.aside)
        while not self._alone and not self.outlet.pressed:
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

    # -- giving back --------------------------------------------------------------------------
    def _give_back(self, now: float) -> None:
        """What was not started is for others: what is queued, and the rest of what was handed out."""
        self._given_back = True
        for part in self.queue.give_back():
            self._return(part, now)
            if self.concurrency:
                self._leave(part.key, part.n, part.nbytes)
            elif self.late:
                self.late[-1].append((part.key, part.n, part.nbytes))
        for work in self.handed:
            batch, _, stop = work.pieces[-1]
            if stop == batch.n and not work.reclaimed:
                work.reclaimed = True  # once: said again, it would count twice
                self.effects.append(Reclaim(work))

    def reclaimed(self, work: Work, started: int, now: float) -> None:
        """This work stops before the task of this index, counted over its pieces."""
        batch, start, stop = work.pieces[-1]
        if start + started < stop and any(work is other for other in self.handed):
            rest = Slice(batch, start + started, stop)
            self._return(rest, now)
            if rest.key in self.open:
                self._shut(rest.key, rest.n)
            self._settle(now)

    def _return(self, part: Slice, now: float) -> None:
        peer, number = self.held.now(part.key)
        link = self.inlet.links.get(peer)
        if link is None or part.key not in self.custody:
            return
        self.counters.returned += part.n
        self.held.cut(part.key, part.start)
        self.returned[(peer, number)] = (part.key, part.n)
        link.give_back(number, part.start, now)

    def _give_back_at(self) -> float | None:
        """When what is behind the running task is to be given back."""
        if self._given_back or self.ordered or not self.handed or not self._peers or self._alone:
            return None
        if self.concurrency and not len(self.queue) and self.running <= self.concurrency:
            return None  # all of it runs
        ahead = self.queue.tasks + sum(work.pieces[-1][2] - work.pieces[-1][1] for work in self.handed)
        if ahead <= 1:
            return None
        return self._moved_at + max(self._patience, 2 * ahead * (self.meter.mean or 0.0))

    # -- time ---------------------------------------------------------------------------------
    def _ack_zeroed(self, now: float) -> None:
        zeroed = self.custody.zeroed
        if zeroed:
            for key in zeroed:
                self._ack(key, now)
            zeroed.clear()

    def _settle(self, now: float) -> None:
        """After each event: ack what came to zero, feed the code, give credit, send."""
        self.outlet.pump(now)
        self._feed(now)
        self._ack_zeroed(now)
        if self._blamed:
            self._blame(now)
        paused = bool(self.queue.aside) or self._alone or self._given_back
        if not paused and (self.ordered or not self.draining):
            senders = len(self.inlet.links)
            window = max(self.meter.window(), self.batch * senders, self.concurrency * senders)
            self.inlet.grant(MAX_WINDOW * senders if self.ordered else window, now)
        self.inlet.turn(self._given_back, now)
        self.inlet.flush(now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times: list[float | None] = [
            self.inlet.deadline(),
            self.outlet.deadline(),
            self._give_back_at(),
        ]
        if self._report is not None:
            times.append(self._report_at)
        times.extend(self._blamed.values())
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.outlet.tick(now)
        self.outlet.complain(now)
        at = self._give_back_at()
        if at is not None and now >= at:
            self._give_back(now)
        if self._report is not None and now >= self._report_at:
            self._report_at = now + REPORT_EVERY
            self.effects.append(self._report)
        self._settle(now)

    def reconnected(self, peer: bytes, now: float) -> None:
        """A connection to this peer came back."""
        self.outlet.probe(peer, now)

    def snapshot(self) -> dict[bytes, tuple[int, ...]]:
        """Job -> what its code has given of it in the present epoch: outputs, failures and drops; failures
        alone; tasks that wait here; tasks that its code has. Of a job that has ended, once more.
        """
        held = {name: job.entry.held if job.entry is not None else 0 for name, job in self.jobs.items()}
        now = waiting_and_running(held, self.queue, self.handed)
        gone, self._gone = self._gone, {}
        return gone | {name: (job.given, job.failures, *now[name]) for name, job in self.jobs.items()}

    def known(self) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of each job here: a newer stamp may have got lost."""
        return [(name, *job.stamp.rank) for name, job in self.jobs.items()]

    def check(self) -> None:
        """Assert every invariant."""
        self.custody.check()
        self.inlet.check()
        self.outlet.check()
        self.waiting.check()
        self.queue.check()
        assert len(self.late) == len(self.handed)
        assert self.running == sum(tasks for tasks, _ in self.open.values())


def _size(work: Work) -> int:
    return sum(stop - start for _, start, stop in work.pieces)


def _given(batch: Batch) -> int:
    return batch.n + len(batch.fails) + sum(not end.count for end in batch.ends)
