"""The worker's machine: tasks in by its inlet, through user code, out by its outlet.

A plain stage queues input batches, hands them to the user's code one by one, and acks each when
nothing that came of it is un-acked (custody). An ordered stage has a sequencer per job before its
code: it takes everything in at once, acks it at once, and releases in order; if this process is
lost, the broker starts its jobs over.

ENDs and FAILs do not travel through plain stages: they go straight to the next sequencer, who takes
a job's items in any order.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from zturbo.core.credit import MAX_WINDOW, Meter
from zturbo.core.custody import Custody
from zturbo.core.effects import Control, Effect, EndJob, Exit, Run, Spill, Work
from zturbo.core.inlet import Inlet
from zturbo.core.outlet import Outlet
from zturbo.core.parcel import Destination, Parcel
from zturbo.core.sequencer import Sequencer
from zturbo.errors import DecodeError
from zturbo.wire.control import View
from zturbo.wire.messages import Batch, DataMessage, Greet, Probe, Stamp, Statement

__all__ = ["MAX_WORK", "Produced", "WorkerMachine"]

MAX_WORK = 512
"""Tasks that an ordered stage hands to its code at once."""

SPILL_BYTES = 64 << 20
"""Bytes that an ordered stage's waiting batches may have in memory; what comes beyond goes to disk."""

REMEMBERED = 100_000
"""Ended jobs that are remembered, so that a late copy of their tasks is known as such."""

InputKey = tuple[bytes, int]


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
    works: int = 0
    """Pieces of work that are finished with this."""


@dataclass(slots=True)
class _Job:
    stamp: Stamp
    entry: Sequencer | None = None
    finished: bool = False
    """At an ordered stage: the final work has been handed out."""
    given: int = 0
    """Outputs, failures and drops: a generator that is still running shows too."""
    blame: str = ""


@dataclass(slots=True)
class _Counters:
    stale: int = 0
    """Tasks of an old epoch or an ended job, acked and dropped."""
    bad: int = 0
    """Items that no correct sender sends, dropped."""


class WorkerMachine:
    """One worker.

    Args:
        me: incarnation.
        pipeline: name of its pipeline.
        stage: index of its stage, from 0.
        stages: how many stages the pipeline has.
        ordered: whether a sequencer precedes its code.
        by_path: at an ordered stage: whether the sequencer keeps the order of paths. Without it, it
            only drops copies and knows completeness, and the code sorts by the user's ids.
        host: name of its host, as members of the view have it.
        spill_bytes: bytes that may wait for their order in memory.
    """

    def __init__(
        self,
        me: bytes,
        *,
        pipeline: str,
        stage: int,
        stages: int,
        ordered: bool,
        by_path: bool = True,
        host: str = "",
        spill_bytes: int = SPILL_BYTES,
    ) -> None:
        self.me = me
        self.spill_bytes = spill_bytes
        self.waiting_bytes = 0
        """Bytes of batches that wait in memory for their order."""
        self._waiting: dict[int, tuple[Batch, int, int]] = {}
        """id of a waiting batch -> (it, its tasks that wait, its bytes that count; 0 once spilled)."""
        self.pipeline = pipeline
        self.stage = stage
        self.stages = stages
        self.ordered = ordered
        self.by_path = by_path
        self.effects: list[Effect] = []
        self.custody: Custody[InputKey] = Custody()
        self.inlet = Inlet(me, self.effects)
        self.outlet = Outlet(me, host, self.custody, self.effects)
        self.meter = Meter()
        self.jobs: dict[bytes, _Job] = {}
        self.ended: OrderedDict[bytes, None] = OrderedDict()
        self.queue: deque[Batch] = deque()
        self.queued_tasks = 0
        self.running = 0
        """Pieces of work that the user's code has and has not finished."""
        self.late: deque[tuple[bytes, int, int]] = deque()
        """(peer, tasks, bytes) whose credit comes back when the work is finished."""
        self.joined = 0
        """Number of the first view that had this worker."""
        self.draining = False
        self.counters = _Counters()
        self._ring: deque[bytes] = deque()

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
        if gone:
            self._forget_senders(gone)
        downstream = [
            member
            for member in view.members.values()
            if member.role == "sink" or (member.pipeline == self.pipeline and member.stage > self.stage)
        ]
        self.outlet.set_view(view, downstream, now)
        self._settle(now)

    def _forget_senders(self, gone: set[bytes]) -> None:
        kept = deque(batch for batch in self.queue if batch.source not in gone)
        self.queued_tasks = sum(batch.size for batch in kept)
        self.queue = kept
        for key in self.custody.keys():
            if key[0] in gone:
                self.custody.forget(key)

    def stamp(self, stamp: Stamp, now: float) -> None:
        """The broker started a job over; its older epoch is void."""
        if stamp.job in self.jobs:
            self._accept_stamp(stamp, now)
            self._settle(now)

    def forget(self, jobs: list[bytes], now: float) -> None:
        """These jobs have ended."""
        for job in jobs:
            self.ended[job] = None
            if job in self.jobs:
                self._purge(job, now)
                del self.jobs[job]
                self.outlet.forget(job)
                self.effects.append(EndJob(job))
        while len(self.ended) > REMEMBERED:
            self.ended.popitem(last=False)
        self._settle(now)

    def drain(self, now: float) -> None:
        """Finish what is here, take nothing new."""
        self.draining = True
        self._settle(now)

    @property
    def idle(self) -> bool:
        """Nothing is held here on anybody's behalf."""
        return not self.queue and not self.running and not len(self.custody) and self.outlet.idle

    # -- data ---------------------------------------------------------------------------------
    def data(self, message: DataMessage, now: float) -> None:
        """A message from a peer."""
        if type(message) is Batch:
            self._batch(message, now)
        elif type(message) is Statement:
            self.outlet.statement(message, now)
        elif type(message) is Probe:
            self.inlet.probe(message, now)
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
                self.queue.append(batch)
                self.queued_tasks += batch.n

    def _accept_stamp(self, stamp: Stamp, now: float) -> None:
        job = self.jobs.get(stamp.job)
        if job is None:
            self.jobs[stamp.job] = _Job(stamp, self._new_entry())
            self._ring.append(stamp.job)
        elif stamp.epoch > job.stamp.epoch:
            self._purge(stamp.job, now)
            self.jobs[stamp.job] = _Job(stamp, self._new_entry())
            self.effects.append(EndJob(stamp.job))
        else:
            return
        self.outlet.stamp(stamp)

    def _new_entry(self) -> Sequencer | None:
        return Sequencer(ordered=self.by_path) if self.ordered else None

    def _purge(self, job: bytes, now: float) -> None:
        """Old epochs leave no debt: what is queued of the job is acked and dropped."""
        for batch, tasks, _ in list(self._waiting.values()):
            if batch.job == job:
                self._waited(batch, tasks)
        for _ in range(len(self.queue)):
            batch = self.queue.popleft()
            if batch.job != job:
                self.queue.append(batch)
                continue
            self.queued_tasks -= batch.n
            self.counters.stale += batch.n
            self.inlet.leave(batch.source, batch.n, batch.nbytes)
            key = (batch.source, batch.number)
            self.custody.forget(key)
            self.inlet.ack(*key, now)

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
                entry.enter_fail(fail.path, fail.count, fail.error)
        except DecodeError:
            self.counters.bad += 1
        if taken:
            self._wait(batch, taken)
        if entry.nondeterministic and not job.blame:
            job.blame = entry.nondeterministic
            self.effects.append(
                Control(
                    {
                        "type": "job_failed",
                        "incarnation": self.me,
                        "job": batch.job,
                        "epoch": job.stamp.epoch,
                        "kind": "NondeterministicStage",
                        "error": job.blame,
                    }
                )
            )

    def _wait(self, batch: Batch, tasks: int) -> None:
        """A batch waits for its order. The latest is the one to be needed last, as a rule: it is spilled."""
        nbytes = batch.nbytes
        if self.waiting_bytes and self.waiting_bytes + nbytes > self.spill_bytes:
            self.effects.append(Spill(batch))
            nbytes = 0
        self.waiting_bytes += nbytes
        self._waiting[id(batch)] = (batch, tasks, nbytes)

    def _waited(self, batch: Batch, tasks: int) -> None:
        _, left, nbytes = self._waiting.pop(id(batch))
        if left > tasks:
            self._waiting[id(batch)] = (batch, left - tasks, nbytes)
        else:
            self.waiting_bytes -= nbytes

    # -- user code ----------------------------------------------------------------------------
    def produced(self, out: Produced, now: float) -> None:
        """The user's code gave something, or finished something, or both."""
        self.running -= out.works
        for _ in range(out.works):
            if self.late:
                self.inlet.leave(*self.late.popleft())
        self.meter.add(out.tasks, out.seconds)
        job = self.jobs.get(out.job)
        if job is not None and job.stamp.epoch == out.epoch:
            if out.batch is not None:
                job.given += _given(out.batch)
                self._put(job.stamp, out)
            for origin, tasks in out.done:
                if origin is not None:
                    self.custody.release((origin,), tasks)
        else:  # its job was started over or has ended: nothing waits for what it gives
            for origin, _ in out.done:
                if origin is not None:
                    self.custody.forget(origin)
                    self.inlet.ack(*origin, now)
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
                self.outlet.put(Parcel.of(marks, self._destination(stamp, after), origins))
                batch.ends, batch.fails = [], []
        if batch.size:
            self.outlet.put(Parcel.of(batch, below, origins))

    def _destination(self, stamp: Stamp, stage: int) -> Destination:
        if stage >= self.stages:
            return stamp.sink
        return stamp.ordered.get(stage) or (self.pipeline, stage)

    def _feed(self, now: float) -> None:
        """Give the user's code something to do: one piece running, one at hand if tasks are fast."""
        ahead = 1 if self.meter.slow or self.meter.mean is None else 2
        while self.running < ahead and not self.outlet.pressed:
            work = self._next_sequenced() if self.ordered else self._next_queued()
            if work is None:
                return
            self.running += 1
            self.effects.append(Run(work))

    def _next_queued(self) -> Work | None:
        if not self.queue:
            return None
        batch = self.queue.popleft()
        self.queued_tasks -= batch.n
        if self.meter.slow or self.meter.mean is None:
            self.late.append((batch.source, batch.n, batch.nbytes))
        else:
            self.late.append((batch.source, 0, 0))
            self.inlet.leave(batch.source, batch.n, batch.nbytes)
        return Work(
            job=batch.job,
            epoch=batch.epoch,
            pieces=[(batch, 0, batch.n)],
            origin=(batch.source, batch.number),
            fails=[],
            logs=self.jobs[batch.job].stamp.logs,
        )

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
            pieces: list[tuple[Batch, int, int]] = []
            fails: list[tuple[int, bytes]] = []
            count = 0
            for piece in released:
                if piece.kind == "fail":
                    fails.append((count, piece.item))
                else:
                    pieces.append((piece.item, piece.offset, piece.offset + piece.n))
                    self._waited(piece.item, piece.n)
                    count += piece.n
            return Work(name, job.stamp.epoch, pieces, None, fails, final, job.stamp.logs)
        return None

    # -- time ---------------------------------------------------------------------------------
    def _settle(self, now: float) -> None:
        """After each event: ack what came to zero, feed the code, give credit, send."""
        self.outlet.pump(now)
        self._feed(now)
        zeroed = self.custody.zeroed
        if zeroed:
            for peer, number in zeroed:
                self.inlet.ack(peer, number, now)
            zeroed.clear()
        if self.draining:
            self.inlet.flush(now)
            return
        self.inlet.grant(MAX_WINDOW * len(self.inlet.links) if self.ordered else self.meter.window(), now)
        self.inlet.flush(now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times = [at for at in (self.inlet.deadline(), self.outlet.deadline()) if at is not None]
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.outlet.tick(now)
        self._settle(now)

    def reconnected(self, peer: bytes, now: float) -> None:
        """A connection to this peer came back."""
        self.outlet.probe(peer, now)

    def snapshot(self) -> dict[bytes, int]:
        """Job -> what its code has given of it in the present epoch: outputs, failures, drops."""
        return {name: job.given for name, job in self.jobs.items()}

    def check(self) -> None:
        """Assert every invariant."""
        self.custody.check()
        self.inlet.check()
        self.outlet.check()
        assert self.running >= 0
        assert self.waiting_bytes == sum(nbytes for _, _, nbytes in self._waiting.values())
        assert self.queued_tasks == sum(batch.n for batch in self.queue)


def _given(batch: Batch) -> int:
    return batch.n + len(batch.fails) + sum(not end.count for end in batch.ends)
