"""The worker's machine: tasks in by its receivers, through user code, out by its senders.

A plain stage queues its input batches and hands them to the user's code one by one. It acks a batch when all
that came of the batch is acked in its turn (custody). An ordered stage has a sequencer for each job, before
its code. The sequencer takes each batch as it comes, so the batch is acked at once, and releases the tasks in
order. If this process is lost, the broker starts its jobs over.

ENDs and FAILs do not travel through plain stages. A worker sends them straight to the next sequencer, which
takes a job's items in any order.

A plain stage may give tasks that it has not started back to their senders, for other workers to run. It does
so when a task runs much longer than those before it, and when this worker is told to leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from zturbo.core.deadlines import earliest
from zturbo.core.effects import Control, Effect, EndJob, Exit, Work
from zturbo.core.links.choice import FANOUT
from zturbo.core.links.credit import MAX_WINDOW
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.links.pings import report_ping, take_order
from zturbo.core.links.receiver import LinkReceiver
from zturbo.core.links.senders import Senders
from zturbo.core.member_jobs import MemberJobs
from zturbo.core.order.sequencer import Sequencer
from zturbo.core.rounds import Rounds
from zturbo.core.states import State, Table
from zturbo.core.worker.adoption import Adoption
from zturbo.core.worker.arrivals import Arrivals
from zturbo.core.worker.counts import waiting_and_running
from zturbo.core.worker.feed import Feed
from zturbo.core.worker.job import WorkerJob
from zturbo.core.worker.places import Located, located
from zturbo.core.worker.produced import Produced
from zturbo.core.worker.sequenced import Sequenced
from zturbo.core.worker.waiting import SPILL_BYTES
from zturbo.wire.codec import BadBatch
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import View
from zturbo.wire.messages import Batch, DataMessage, Greet, Ping, Probe, Stamp, Statement

__all__ = ["WORKER", "WorkerMachine", "WorkerState"]


class WorkerState(State):
    """Where a worker stands."""

    FRESH = "fresh"
    READY = "ready"
    DRAINING = "draining"
    FENCED = "fenced"


FRESH, READY, DRAINING, FENCED = WorkerState

WORKER: Table[WorkerState] = Table(
    "Worker",
    {
        FRESH: "no view has it yet, so no peer sends it tasks",
        READY: "it takes tasks, as far as it gives credit",
        DRAINING: "a plain stage finishes the tasks that run and gives the others back; an ordered one "
        "finishes its jobs",
        FENCED: "it leaves; others drop its messages",
    },
    [
        (FRESH, READY, "the first view that has it"),
        (FRESH, DRAINING, "it is told to stop before any view has it"),
        (READY, DRAINING, "it is told to stop"),
        (READY, FENCED, "a view comes without it"),
        (DRAINING, FENCED, "a view comes without it"),
    ],
)


class WorkerMachine:
    """One worker. Its methods are its events, and its parts have its state.

    Args:
        me: incarnation.
        pipeline: name of its pipeline.
        stage: index of its stage, from 0.
        stages: how many stages the pipeline has.
        ordered: whether a sequencer precedes its code, as it does where the stage is sticky.
        host: name of its host, as members of the view have it.
        spill_bytes: bytes that may wait for their order in memory.
        batch: tasks that the code takes at once; 0 for one by one.
        batch_wait: seconds that the code waits until it has ``batch`` tasks.
        concurrency: tasks that the code runs at a time, and finishes in any order; 0 for one by one.
        fanout: workers of the next stage to which it has links.
        bounded: whether it has links to these alone, and to no others while tasks wait.
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
        fanout: int = FANOUT,
        bounded: bool = False,
    ) -> None:
        self.me = me
        self._pipeline = pipeline
        self._stage = stage
        self._stages = stages
        self._ordered = ordered
        self.effects: list[Effect] = []
        self.rounds = Rounds(self._settle)
        self.jobs: dict[bytes, WorkerJob] = {}
        self.known_jobs = MemberJobs(me, self.jobs, self.effects)
        self.ended = self.known_jobs.ended
        self.arrivals = Arrivals(me, self.effects)
        self.receivers = self.arrivals.receivers
        self.senders = Senders(me, host, self.arrivals.custody, self.effects, fanout, bounded=bounded)
        self.sequenced = Sequenced(me, self.jobs, self.effects, spill_bytes)
        self.feed = Feed(
            self.arrivals,
            self.jobs,
            self.senders,
            self.effects,
            sequenced=self.sequenced.next if ordered else None,
            batch=batch,
            batch_wait=batch_wait,
            concurrency=concurrency,
        )
        self._adoption = Adoption(me, self.arrivals, self.effects)
        self.joined = 0
        """Number of the first view that had this worker."""
        self.state = WORKER.start
        self._story: list[str] = []
        """Its last moves from one state to another."""

    def _move(self, state: WorkerState) -> None:
        self.state = WORKER.move(self.state, state, self._story)

    # -- control ------------------------------------------------------------------------------
    def view(self, view: View, now: float) -> None:
        """Take the broker's word on which members live."""
        if view.number < self.receivers.view.number:
            return
        if self.me in view.members:
            self.joined = self.joined or view.number
            if self.state is FRESH:
                self._move(READY)
        elif self.joined:
            if self.state is not FENCED:
                self._move(FENCED)
            self.effects.append(Exit("the broker's view is without this worker", 3))
            return
        gone = set(self.receivers.set_view(view))
        gone.discard(self._adoption.broker)
        if gone:
            self.feed.drop_senders(gone)
            self.arrivals.forget_senders(gone)
        members = view.members.values()
        downstream = [
            m for m in members if m.role == "sink" or (m.pipeline == self._pipeline and m.stage > self._stage)
        ]
        me = view.members.get(self.me)
        code = "" if me is None else me.code
        fellows = [m for m in members if m.pipeline == self._pipeline and m.stage == self._stage]
        self.feed.peers = len([m for m in fellows if m.code == code]) > 1
        self.senders.set_view(view, downstream, now, fellows)
        broker = next((m.incarnation for m in members if m.role == "broker"), b"")
        if broker and broker != self._adoption.broker:
            self._adoption.adopt(broker, self.feed.owed(), now)
        self.rounds.event(now)

    def control(self, message: Message, now: float) -> None:
        """Take a message of the broker."""
        match message:
            case from_broker.Welcome(view=view) | from_broker.NewView(view=view):
                self.view(view, now)
            case from_broker.NewStamp(stamp=stamp):
                self.stamp(stamp, now)
            case from_broker.Forget(jobs=jobs):
                self.forget(jobs, now)
            case from_broker.AskEntered(job=job, epoch=epoch):
                self.known_jobs.say_entered(job, epoch)
            case from_broker.PingThem():
                take_order(self.me, message, self.effects)
            case from_broker.HeldOk(broker=broker):
                self._adoption.confirmed(broker)

    def stamp(self, stamp: Stamp, now: float) -> None:
        """Take a new stamp of a job: with a higher epoch, a mark, another sink."""
        if stamp.job in self.jobs:
            self._accept_stamp(stamp, now)
            self.rounds.event(now)

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
        self.rounds.event(now)

    def drain(self, now: float) -> None:
        """Prepare to leave.

        A plain stage finishes the tasks that run, gives the others back, and takes no new ones. An ordered
        stage finishes its jobs, and takes their tasks until then; the broker places no other job on it.
        """
        if self.state in (FRESH, READY):
            self._move(DRAINING)
        self.effects.append(Control(to_broker.Draining(incarnation=self.me)))
        if not self._ordered:
            self.feed.give_back(now)
        self.rounds.event(now)

    @property
    def idle(self) -> bool:
        """Whether nothing is here that another process waits for."""
        return (
            not self.feed.queue
            and not self.feed.handed
            and not len(self.arrivals.custody)
            and self.senders.idle
            and (not self._ordered or all(job.finished for job in self.jobs.values()))
        )

    # -- data ---------------------------------------------------------------------------------
    def data(self, message: DataMessage, now: float) -> None:
        """Take a message of a peer. A message of a kind that is not for workers is dropped."""
        if type(message) is Batch:
            self._batch(message, now)
        elif type(message) is Statement:
            self.senders.statement(message, now)
        elif type(message) is Probe:
            taken = self.receivers.probe(message, now)
            self.arrivals.taken_back(message.source, taken)
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
        if batch.stamp is not None and batch.job not in self.ended:
            self._accept_stamp(batch.stamp, now)
        job = self.jobs.get(batch.job)
        wrong = batch.stage != self._stage or (not self._ordered and batch.size != batch.n)
        if job is None or batch.epoch < job.stamp.epoch or wrong:
            _ack_at_once(link, batch, now)
        elif self._ordered:
            self.sequenced.enter(job, batch)
            _ack_at_once(link, batch, now)
        else:
            self.arrivals.admit(batch, root=batch.source == self._adoption.broker)
            if batch.n:
                self.feed.add(batch, now)

    def _accept_stamp(self, stamp: Stamp, now: float) -> None:
        job = self.jobs.get(stamp.job)
        if job is not None and stamp.rank <= job.stamp.rank:
            return
        if job is None or stamp.epoch > job.stamp.epoch:
            if job is None:
                self.sequenced.begin(stamp.job)
            else:
                self._purge(stamp.job, now)
                self.effects.append(EndJob(stamp.job))
            sequencer = Sequencer() if self._ordered else None
            job = self.jobs[stamp.job] = WorkerJob(stamp, sequencer)
        job.stamped(stamp, self._stage)
        self.senders.stamp(stamp)

    def _purge(self, job: bytes, now: float) -> None:
        self.sequenced.waiting.forget(job)
        self.feed.drop_job(job, now)

    # -- user code ----------------------------------------------------------------------------
    def produced(self, out: Produced, now: float) -> None:
        """The user's code gave outputs, or finished tasks, or both."""
        self.feed.finished(out, now)
        job = self.jobs.get(out.job)
        if job is not None and job.stamp.epoch == out.epoch:
            if out.batch is not None:
                job.count(out.batch, out.passing)
                self._put(job.stamp, out.batch, out)
            for origin, tasks in out.done:
                if origin is not None:
                    self.arrivals.custody.release((origin,), tasks)
        else:  # the job was started over or has ended: its outputs are not needed
            for origin, _ in out.done:
                if origin is not None:
                    self.arrivals.drop(origin, now)
        self.rounds.event(now)

    def _put(self, stamp: Stamp, batch: Batch, out: Produced) -> None:
        origins = tuple({origin for origin, _ in out.done if origin is not None})
        below = self._stage + 1
        batch.job, batch.epoch, batch.stage = out.job, out.epoch, below
        if batch.ends or batch.fails:
            after = min((stage for stage in stamp.ordered if stage >= below), default=self._stages)
            if after != below:
                marks = Batch(out.job, out.epoch, after, ends=batch.ends, fails=batch.fails)
                self._send(stamp, marks, origins)
                batch.ends, batch.fails = [], []
        if batch.size:
            self._send(stamp, batch, origins)

    def _send(self, stamp: Stamp, batch: Batch, origins: tuple[object, ...]) -> None:
        self.senders.put(OutBatch.of(batch, stamp.to(batch.stage, self._stages), origins))

    def reclaimed(self, work: Work, started: int, now: float) -> None:
        """The code stops this work after ``started`` tasks."""
        self.feed.reclaimed(work, started, now)
        self.rounds.event(now)

    # -- time ---------------------------------------------------------------------------------
    def _settle(self, now: float) -> None:
        """Do what follows from events: send, feed the code, ack, give credit."""
        feed, receivers = self.feed, self.receivers
        if self.senders.pending or self.senders.choices.of:
            self.senders.pump(now)
        feed.go_on(now)
        if self.arrivals.custody.zeroed:
            self.arrivals.ack_zeroed(now)
        if self._ordered:
            self.sequenced.blame(now)
        if (feed.measured or receivers.ungranted) and not feed.paused:
            if self._ordered or self.state is not DRAINING:
                feed.measured = False
                senders = len(receivers.links)
                window = MAX_WINDOW * senders if self._ordered else feed.window(senders)
                receivers.grant(window, now, each=feed.slots)
        if feed.given_back is not receivers.busy:
            receivers.turn(feed.given_back, now)
        due = receivers.deadline()
        if due is not None and due <= now:
            receivers.free = self.state is not DRAINING and feed.free
            receivers.flush(now)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times = [self.receivers.deadline(), self.senders.deadline(), self.ended.deadline()]
        times.append(self._adoption.deadline())
        if self.feed.handed:
            times.append(self.feed.give_back_at())
        if self._ordered:
            times.append(self.sequenced.deadline())
        return earliest(times)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self.senders.tick(now)
        self.senders.complain(now)
        self.effects.extend(self.ended.say(now))
        at = self.feed.give_back_at()
        if at is not None and now >= at:
            self.feed.give_back(now)
        self._adoption.tick(now)
        self.rounds.event(now)

    # -- for others ---------------------------------------------------------------------------
    def progress(self) -> to_broker.Progress:
        """Of each job: outputs, failures and drops that the code has given; failures alone; tasks that wait;
        tasks that the code has. All are of the present epoch.
        """
        waiting = {
            name: 0 if job.sequencer is None else job.sequencer.buffered for name, job in self.jobs.items()
        }
        now = waiting_and_running(waiting, self.feed.queue, self.feed.handed)
        counts = {name: (job.done, job.failures, *now[name]) for name, job in self.jobs.items()}
        return to_broker.Progress(incarnation=self.me, counts=counts)

    def load(self) -> tuple[int, int, int]:
        """(tasks that wait for their turn or their order, tasks that run, outputs that wait for credit)."""
        waiting, running = self.feed.at_hand()
        buffered = sum(job.sequencer.buffered for job in self.jobs.values() if job.sequencer is not None)
        return waiting + buffered, running, self.senders.pending_tasks

    def known(self, after: int, most: int) -> list[tuple[bytes, int, int]]:
        """(job, epoch, revision) of so many jobs, after so many others. The broker sends newer stamps."""
        return self.known_jobs.named(after, most, self.receivers.waited_for())

    def located(self) -> list[Located]:
        """The places of tasks that the code has not finished, without those that wait for their order."""
        return located(self.feed.queue, self.feed.handed, self.arrivals.returned.values())

    def check(self) -> None:
        """Assert every invariant."""
        self.arrivals.check()
        self.senders.check()
        self.sequenced.waiting.check()
        self.feed.check()
        parts = sorted(self.located())
        for (key, _, stop, place), (other, start, _, also) in pairwise(parts):
            assert key != other or stop <= start, f"task {start} of {key} is in two places: {place}, {also}"


def _ack_at_once(link: LinkReceiver, batch: Batch, now: float) -> None:
    """Ack a batch of which nothing is queued, and give all its credit back."""
    link.window.leave(batch.size, batch.nbytes)
    link.ack(batch.number, now, batch.sub)
