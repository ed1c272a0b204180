"""The input of a worker's user code: the queue before it, and the work that it has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from zturbo.core.effects import Effect, Reclaim, Run, Work
from zturbo.core.links.credit import SLOW, Meter
from zturbo.core.links.senders import Senders
from zturbo.core.worker.arrivals import Arrivals
from zturbo.core.worker.held_roots import InputKey
from zturbo.core.worker.job import WorkerJob
from zturbo.core.worker.produced import Produced
from zturbo.core.worker.queue import InputQueue, Slice
from zturbo.telemetry.histogram import Histogram
from zturbo.wire.messages import Batch, Path

__all__ = ["Feed"]

AT_HAND, AT_HAND_SECONDS = 64, 0.002
"""Tasks that the code has at hand if they come in many small batches, and seconds that they take: either
is enough."""

GIVE_BACK_AFTER = 0.25
"""Seconds that a task runs at least, before the tasks queued behind it are given back."""


class Feed:
    """Gives the user's code its input.

    Args:
        arrivals: gives credit, and tasks that are not started, back to senders.
        jobs: the state of each job at the worker.
        senders: the code gets no new work while they are pressed.
        effects: list to which it appends its effects.
        sequenced: gives the next work of an ordered stage; None at a plain stage, which has a queue.
        batch: tasks that the code takes at once; 0 for one by one.
        batch_wait: seconds that the code waits until it has ``batch`` tasks.
        concurrency: tasks that the code runs at a time, and finishes in any order; 0 for one by one.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        jobs: dict[bytes, WorkerJob],
        senders: Senders,
        effects: list[Effect],
        *,
        sequenced: Callable[[], Work | None] | None,
        batch: int,
        batch_wait: float,
        concurrency: int,
    ) -> None:
        self._arrivals = arrivals
        self._jobs = jobs
        self._senders = senders
        self._effects = effects
        self._sequenced = sequenced
        self._batch = batch
        self._concurrency = concurrency
        self._patience = GIVE_BACK_AFTER + batch_wait
        self.meter = Meter()
        self.measured = False
        """Whether the meter has had a measurement that the owner has not looked at."""
        self.queue = InputQueue()
        self.waits = Histogram()
        """Times for which tasks were queued here."""
        self.handed: deque[Work] = deque()
        """Work that the user's code has and has not finished."""
        self._handed_tasks = 0
        """Tasks in ``handed``, as it was handed out."""
        self._late: deque[list[tuple[InputKey, int, int]]] = deque()
        """For each work in ``handed``, at its index: (input, tasks, bytes) whose credit comes back when it
        ends."""
        self._open: dict[InputKey, tuple[int, int]] = {}
        """Where tasks are finished in any order: input -> (tasks, bytes) of it that the code has."""
        self._running = 0
        """How many tasks are in ``_open``."""
        self.peers = False
        """Whether there are other workers of this stage."""
        self._alone = False
        """Whether a suspect runs, so that nothing else may."""
        self._moved_at = 0.0
        """When the code last began work after a pause, or finished a task or some work."""
        self.given_back = False
        """Whether the tasks behind the running one were given back already."""

    # -- in -----------------------------------------------------------------------------------
    def add(self, batch: Batch, now: float) -> None:
        """Queue a batch that has come. If the tasks behind a long one were given back, give this batch back
        too."""
        self.queue.add(batch, now)
        if self.given_back:
            self.give_back(now)

    def drop_job(self, job: bytes, now: float) -> None:
        """Drop the queued tasks of a job. They are acked and their credit returned: senders wait for nothing
        of an old epoch."""
        for part in self.queue.drop_job(job):
            self._arrivals.leave(part.key, part.n, part.nbytes)
            self._arrivals.drop(part.key, now)

    def drop_senders(self, gone: set[bytes]) -> None:
        """Drop the queued tasks of senders that are gone: other workers get these tasks."""
        self.queue.drop_senders(gone)

    # -- to the code, and back ----------------------------------------------------------------
    def go_on(self, now: float) -> None:
        """Give the user's code work: one piece to run, and a second one at hand if tasks are fast. A stage
        with batches gets enough for two batches, an ``async def`` stage as many tasks as run at a time."""
        queue = self.queue if self._sequenced is None else None
        if queue is not None and not queue.tasks:
            return
        one = self.meter.slow or self.meter.mean is None or bool(self.queue.aside)
        while not self._alone and not self._senders.pressed:
            if self._concurrency:
                if self._running >= self._concurrency:
                    return
            else:
                enough = len(self.handed) >= (1 if one else 2)
                if enough and (self.queue.aside or self._plenty(one)):
                    return
            if self._sequenced is None:
                work = self._next_queued(now)
            elif (work := self._sequenced()) is not None:
                self._late.append([])
            if work is None:
                return
            if not self.handed:
                self._moved_at = now
            self.handed.append(work)
            self._handed_tasks += work.size
            self._effects.append(Run(work))
            if queue is not None and not queue.tasks:
                return

    def _plenty(self, one: bool) -> bool:
        """Whether the code has enough tasks at hand to be busy for a while; ``one``: if it has any."""
        tasks = self._handed_tasks
        if tasks < 2 * self._batch:
            return False
        return one or tasks >= AT_HAND or tasks * (self.meter.mean or 0.0) >= AT_HAND_SECONDS

    def _suspects(self, job: bytes) -> frozenset[Path]:
        return self._jobs[job].suspects

    def _next_queued(self, now: float) -> Work | None:
        part = self.queue.next(self._suspects)
        if part is None and not self.handed:
            part = self.queue.next_alone()
            self._alone = part is not None
        if part is None:
            return None
        self.waits.add(part.n, part.n * max(0.0, now - part.since))
        if self._concurrency:
            tasks, nbytes = self._open.get(part.key, (0, 0))
            self._open[part.key] = (tasks + part.n, nbytes + part.nbytes)
            self._running += part.n
            self._late.append([])
        elif self.meter.slow or self.meter.mean is None:
            self._late.append([(part.key, part.n, part.nbytes)])
        else:
            self._late.append([])
            self._arrivals.leave(part.key, part.n, part.nbytes)
        batch = part.batch
        job = self._jobs[batch.job]
        pieces = [(batch, part.start, part.stop)]
        return Work(batch.job, batch.epoch, pieces, part.key, [], logs=job.stamp.logs, marks=job.marks)

    def finished(self, out: Produced, now: float) -> None:
        """The code has finished tasks or pieces of work: give their credit back."""
        if out.tasks or out.works:
            self._moved_at = now
            self.given_back &= not (out.works or self._concurrency)
        for work in out.works:
            at = next(at for at, other in enumerate(self.handed) if other is work)
            del self.handed[at]
            self._handed_tasks -= work.size
            for key, tasks, nbytes in self._late[at]:
                self._arrivals.leave(key, tasks, nbytes)
            del self._late[at]
            self._alone = False
        for origin, tasks in out.done:
            if origin in self._open:
                self._shut(origin, tasks)
        self.meter.add(out.tasks, out.seconds)
        self.measured = True

    def _shut(self, key: InputKey, tasks: int) -> None:
        """The code has so many tasks less of this input: give their credit back."""
        left, nbytes = self._open.pop(key)
        tasks = min(tasks, left)
        self._running -= tasks
        if left > tasks:
            self._open[key] = (left - tasks, nbytes)
        self._arrivals.leave(key, tasks, 0 if left > tasks else nbytes)

    # -- giving back --------------------------------------------------------------------------
    def give_back(self, now: float) -> None:
        """Give back all tasks that have not started, both queued ones and those that the code has. Other
        workers run them."""
        self.given_back = True
        for part in self.queue.give_back():
            self._arrivals.give_back(part, now)
            if self._concurrency:
                self._arrivals.leave(part.key, part.n, part.nbytes)
            elif self._late:
                self._late[-1].append((part.key, part.n, part.nbytes))
        for work in self.handed:
            batch, _, stop = work.pieces[-1]
            if stop == batch.n and not work.reclaimed:
                work.reclaimed = True  # once: a second time, the same tasks would be counted again
                self._effects.append(Reclaim(work))

    def reclaimed(self, work: Work, started: int, now: float) -> None:
        """The code stops this work after ``started`` tasks: give back the others."""
        batch, start, stop = work.pieces[-1]
        if start + started < stop and any(work is other for other in self.handed):
            rest = Slice(batch, start + started, stop)
            self._arrivals.give_back(rest, now)
            if rest.key in self._open:
                self._shut(rest.key, rest.n)

    def give_back_at(self) -> float | None:
        """When the tasks behind the running one are to be given back; None if they are not."""
        if self.given_back or self._sequenced is not None or not self.handed or not self.peers or self._alone:
            return None
        if self._concurrency and not len(self.queue) and self._running <= self._concurrency:
            return None  # all tasks run
        ahead = self.queue.tasks + self._handed_tasks
        if ahead <= 1:
            return None
        return self._moved_at + max(self._patience, 2 * ahead * (self.meter.mean or 0.0))

    # -- for others ---------------------------------------------------------------------------
    def at_hand(self) -> tuple[int, int]:
        """(tasks that are queued, or that the code has and has not started; tasks that run)."""
        unstarted = sum(work.left for work in self.handed)
        running = max(0, self._running - unstarted) if self._concurrency else min(1, len(self.handed))
        return self.queue.tasks + unstarted, running

    @property
    def free(self) -> bool:
        """Whether a task that comes now would be begun at once."""
        idle = self._running < self._concurrency if self._concurrency else not self.handed
        return idle and not len(self.queue) and not self.paused

    @property
    def paused(self) -> bool:
        """Whether senders get no more credit: a suspect is here, or tasks that come are given back."""
        return bool(self.queue.aside) or self._alone or self.given_back

    def window(self, senders: int) -> int:
        """Tasks that so many senders together may send ahead."""
        return max(self.meter.window(), self._batch * senders, self._concurrency * senders)

    @property
    def slots(self) -> bool:
        """Whether the code runs several slow tasks at a time: each that ends lets another one begin."""
        return self._concurrency > 0 and (self.meter.mean or 0.0) * self._concurrency > SLOW

    def owed(self) -> list[tuple[InputKey, int, int]]:
        """(input, tasks, bytes) of all tasks whose credit has not come back."""
        owed = [(part.key, part.n, part.nbytes) for part in self.queue.parts()]
        owed += [late for parts in self._late for late in parts]
        return owed + [(key, tasks, nbytes) for key, (tasks, nbytes) in self._open.items()]

    def check(self) -> None:
        """Assert every invariant."""
        self.queue.check()
        assert len(self._late) == len(self.handed)
        assert self._handed_tasks == sum(work.size for work in self.handed)
        assert self._running == sum(tasks for tasks, _ in self._open.values())
