"""What a worker has, and how it lets go of it: acks, credit, what is given back to its senders.

The base of :class:`zturbo.core.worker.machine.WorkerMachine`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from zturbo.core.counts import EndedJobs
from zturbo.core.effects import Effect, Reclaim, Work
from zturbo.core.links.credit import Meter
from zturbo.core.links.custody import Custody
from zturbo.core.links.outbatch import Destination
from zturbo.core.links.receivers import Receivers
from zturbo.core.links.senders import Senders
from zturbo.core.order.sequencer import Sequencer
from zturbo.core.worker.counts import waiting_and_running
from zturbo.core.worker.held_roots import HeldRoots, InputKey
from zturbo.core.worker.queue import InputQueue, Slice
from zturbo.core.worker.waiting import SPILL_BYTES, Waiting
from zturbo.wire.control import to_broker
from zturbo.wire.messages import Batch, Mark, Path, Stamp

__all__ = ["Produced", "WorkerJob", "WorkerState"]

GIVE_BACK_AFTER = 0.25
"""Seconds that a task runs at least before what is queued behind it is given back."""


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
class WorkerJob:
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
    def done(self) -> int:
        """What this stage has given, without what passed by."""
        return max(0, self.given - self.passing)

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


class WorkerState:
    """What a worker has.

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
        self.receivers = Receivers(me, self.effects)
        self.senders = Senders(me, host, self.custody, self.effects)
        self.meter = Meter()
        self.batch = batch
        self.concurrency = concurrency
        self._patience = GIVE_BACK_AFTER + batch_wait
        self.jobs: dict[bytes, WorkerJob] = {}
        self.ended = EndedJobs(me)
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
        self._report: to_broker.Held | None = None
        self._report_at = 0.0

    # -- letting go ---------------------------------------------------------------------------
    def _leave(self, key: InputKey, tasks: int, nbytes: int) -> None:
        self.receivers.leave(self.held.now(key)[0], tasks, nbytes)

    def _ack(self, key: InputKey, now: float) -> None:
        """Nothing of this input is un-acked, or nobody wants it any more."""
        self.receivers.ack(*self.held.now(key), now)
        self.returned.pop(self.held.now(key), None)
        self.held.done(key)

    def _shut(self, key: InputKey, tasks: int) -> None:
        """The code has so many tasks less of this input: their credit comes back."""
        left, nbytes = self.open.pop(key)
        tasks = min(tasks, left)
        self.running -= tasks
        if left > tasks:
            self.open[key] = (left - tasks, nbytes)
        self._leave(key, tasks, 0 if left > tasks else nbytes)

    def _ack_zeroed(self, now: float) -> None:
        zeroed = self.custody.zeroed
        if zeroed:
            for key in zeroed:
                self._ack(key, now)
            zeroed.clear()

    def _destination(self, stamp: Stamp, stage: int) -> Destination:
        return stamp.after(stage, self.stages) or (self.pipeline, stage)

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

    def _return(self, part: Slice, now: float) -> None:
        peer, number = self.held.now(part.key)
        link = self.receivers.links.get(peer)
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

    # -- for others ---------------------------------------------------------------------------
    def snapshot(self) -> dict[bytes, tuple[int, int, int, int]]:
        """Job -> what its code has given of it in the present epoch: outputs, failures and drops; failures
        alone; tasks that wait here; tasks that its code has.
        """
        held = {name: job.entry.buffered if job.entry is not None else 0 for name, job in self.jobs.items()}
        now = waiting_and_running(held, self.queue, self.handed)
        return {name: (job.done, job.failures, *now[name]) for name, job in self.jobs.items()}

    def known(self) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of each job here: a newer stamp may have got lost."""
        return [(name, *job.stamp.rank) for name, job in self.jobs.items()] + self.receivers.waited_for()

    def check(self) -> None:
        """Assert every invariant."""
        self.custody.check()
        self.receivers.check()
        self.senders.check()
        self.waiting.check()
        self.queue.check()
        assert len(self.late) == len(self.handed)
        assert self.running == sum(tasks for tasks, _ in self.open.values())
