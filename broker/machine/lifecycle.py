"""Jobs of the broker: placed, started over, ended, forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from zturbo.core.deadlines import Deadlines
from zturbo.core.effects import Control, Record
from zturbo.core.links.custody import Custody
from zturbo.core.links.senders import Senders
from zturbo.jobstates import ENDED, JobState
from zturbo.wire.control import from_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Stamp, Taken
from zturbo_broker.jobs.codes import Choice, choose, other_code
from zturbo_broker.jobs.feeds import Feeds
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.joblists import JobLists
from zturbo_broker.jobs.placement import Placed, Placement, StageInfo
from zturbo_broker.jobs.roots import Roots
from zturbo_broker.jobs.seekers import Seekers
from zturbo_broker.jobs.states import JOB
from zturbo_broker.jobs.table import FIRST_RANK
from zturbo_broker.machine.history import History
from zturbo_broker.machine.known import Known, PipelineInfo
from zturbo_broker.machine.recovery import ASK_EVERY, Recovery
from zturbo_broker.machine.viewing import Viewing
from zturbo_broker.members.lost_sinks import LostSinks

__all__ = ["Lifecycle"]

SEEK = 5.0
"""Seconds for which a client's question where results are is remembered."""

UNORDERED = ("roots", "none")
"""Orders of results that depend on which task is done first."""

PLACED_AT_ONCE = 512
"""Jobs that are placed before the broker reads messages again. It takes about a tenth of a second."""


class _Here(NamedTuple):
    """The living members that a pipeline's jobs are placed on."""

    stages: list[StageInfo]
    workers: list[list[Member]]
    """Of each stage."""
    codes: list[Choice]
    """Of each stage."""
    sinks: list[Member]
    spools: dict[bytes, bytes]
    """Sink -> its spool."""
    wild: bool
    """Whether there is a worker whose stage is not deterministic."""


class Lifecycle:
    """What becomes of each job.

    Args:
        known: the facts that all parts use.
        keep: seconds that results of an ended job are kept.
        feed_timeout: seconds that a client may be silent while it feeds a job.
        grace: seconds that a lost sink has to come back with its spool.
    """

    def __init__(self, known: Known, *, keep: float, feed_timeout: float, grace: float) -> None:
        self.say = known.say
        self.effects = known.effects
        self.pipelines = known.pipelines
        self.membership = known.membership
        self.table = known.table
        self.jobs = known.jobs
        self.counts = known.counts
        self.problems = known.problems
        self.codes = known.codes
        self.placement = Placement()
        self.custody: Custody[bytes] = Custody()
        self.senders = Senders(known.me, known.membership.broker.host, self.custody, known.effects)
        self.roots = Roots(self.senders, known.effects, known.say.ok, known.table.quotas.shrank)
        self.recovery = Recovery(self.senders, known.effects)
        self.lost_sinks = LostSinks(grace)
        self.unknown_failures: dict[bytes, float] = {}
        """Job that started over -> when to ask its sink again which failures it has given out."""
        self.draining: set[bytes] = set()
        """Members that are about to leave: no job is placed on them."""
        self.deadlines = Deadlines()
        self.forgets = JobLists(from_broker.Forget)
        self.confirms = JobLists(from_broker.Confirmed)
        """Sinks are told that ends are in the ledger."""
        self.history = History(known, self.forgets, self.lost_sinks, keep)
        self.feeds = Feeds(feed_timeout)
        self.seekers = Seekers(SEEK, known.effects)
        self.watches: dict[bytes, tuple[int, dict[bytes, tuple[bytes, ...]], float]] = {}
        """Client -> (ref of its question, jobs whose end it waits for, when it last asked). With each job are
        the ids that the client has named: of jobs that it carries, or its own."""
        self.voided: dict[bytes, float] = {}
        """Job that failed or was cancelled -> when it ended: nodes are told of it again for a while."""
        self.views = known.views
        self.viewing = Viewing(known, self.senders)
        self.unplaced = True
        """Whether something has happened after which a waiting job may be placed."""
        self._here_of: dict[str, tuple[tuple[int, frozenset[bytes]], _Here]] = {}
        """Pipeline -> (the view's number, members that leave), and who is there as long as both stay."""
        self.now = 0.0
        """The time when jobs were last placed."""

    def end(self, job: Job, state: JobState, kind: str | None, error: str | None, now: float) -> None:
        """End a job in this state; tell its members, its watchers and, unless it is done, its nodes."""
        self._move(job, state)
        self.history.note_end(job, now)
        self.unplaced = True
        job.error_kind, job.error, job.waiting = kind, error, None
        job.ended_at = now
        self.deadlines.drop(job.id)
        self.feeds.close(job.client, job.id)
        self._unplace(job)
        if (pipeline := self.pipelines.get(job.pipeline)) is not None:
            pipeline.queue.remove(job.id)
            pipeline.waiting.pop(job.id, None)
        self.roots.drop(job)
        self.recovery.drop(job.id)
        for identity, ref in job.owed_acks:
            self.say.error(identity, ref, "JobError", f"the job is {state}")
        job.owed_acks.clear()
        if state is not JobState.DONE and job.stamp is not None:
            job.results, job.failed, *_ = self.counts.of(job.stamp.sink, job.id)
        self.record(job)
        self.effects.append(Record("drop_chunks", (job.id,)))
        told = [
            member
            for member in self.membership.members()
            if member.pipeline == job.pipeline or (member.role == "sink" and state is not JobState.DONE)
        ]
        self.forgets.add([member.incarnation for member in told], job.id, now)
        if state is not JobState.DONE:
            self.effects.extend(self.forgets.say_now())
        if job.stamp is not None:
            sink = job.stamp.sink
            self.counts.ended(job, [m for m in told if m.role == "worker" or m.incarnation == sink])
        if job.id not in self.counts.ending:
            self.table.leave(job)
        if state is not JobState.DONE:  # a node ends workers that do not stop by themselves
            self.voided[job.id] = now
            for node in self.membership.nodes(job.pipeline):
                self.effects.append(Control(from_broker.Forget(jobs=(job.id,)), node))

        self.seekers.moved(job.id)
        for identity, (ref, jobs, _) in list(self.watches.items()):
            if job.id in jobs:
                del self.watches[identity]
                self.say.ok(identity, ref, tuple((name, state.value, kind, error) for name in jobs[job.id]))

    def _move(self, job: Job, state: JobState) -> None:
        before = job.state
        job.state = JOB.move(before, state, job.story)
        self.table.moved(job, before)

    def record(self, job: Job) -> None:
        """Write the job to the ledger."""
        self.effects.append(Record("put_job", (job,)))

    def wait_again(self, job: Job) -> None:
        """The job starts over in a higher epoch: a stamped worker or its sink is gone, or tasks failed."""
        self._move(job, JobState.WAITING)
        self.recovery.drop(job.id)
        self._unplace(job)
        self.unplaced = True
        if (pipeline := self.pipelines.get(job.pipeline)) is not None:
            pipeline.queue.remove(job.id)
            pipeline.waiting[job.id] = None
        else:
            job.waiting = f"pipeline {job.pipeline}: this broker's network file has none of that name"
        self.roots.rewind(job)

    def results_lost(self, job: Job, why: str, now: float) -> None:
        """Its sink has lost its results, of which some may have been given out: start over, if another run
        gives them in the same order."""
        stamp = job.stamp
        alone = not job.carries  # carried jobs are read one by one after this, each by path
        if alone and stamp is not None and stamp.order in UNORDERED:
            text = f"{why}; with order '{stamp.order}' another run gives results in another order, which"
            text = f"{text} would not fit those given out: submit the job again"
            self.end(job, JobState.FAILED, "ResultsLost", text, now)
        else:
            self.start_over(job, why, now)

    def start_over(self, job: Job, why: str, now: float) -> None:
        """Run a job again in a higher epoch, if that fits the results that were given out so far."""
        stamp = job.stamp
        if job.wild and stamp is not None and stamp.hold not in ("all", "success"):
            text = f"{why}; a stage is not deterministic, so another run would not fit the results given out"
            self.end(job, JobState.FAILED, "ResultsLost", f"{text}: submit the job again", now)
        else:
            job.incidents.append(f"{why}: the job starts over")
            self.wait_again(job)

    def _unplace(self, job: Job) -> None:
        """Give back the job's seats."""
        self.unknown_failures.pop(job.id, None)
        if job.placed is not None:
            self.placement.free(job.placed)
            job.placed = None

    def place_all(self, now: float) -> None:
        """Place each pipeline's waiting jobs in the order in which they came. If one cannot be placed, those
        behind it wait too. Of very many, the rest is placed at the next times."""
        self.now = now
        if not self.unplaced:
            return
        self.unplaced = False
        room = PLACED_AT_ONCE
        for pipeline in self.pipelines.values():
            if not pipeline.waiting:
                continue
            here = self._here(pipeline)
            while pipeline.waiting:
                if not room:
                    self.unplaced = True
                    return
                room -= 1
                name = next(iter(pipeline.waiting))
                self._place(self.jobs[name], pipeline, here)
                if self.jobs[name].state is JobState.WAITING:
                    break
                pipeline.waiting.pop(name, None)

    def queue(self, job: Job) -> None:
        """Put the job into its pipeline's queue if it has roots to send; if all are sent, send its END."""
        if job.state is JobState.RUNNING and job.failures_known and not job.recovering:
            pipeline = self.pipelines[job.pipeline]
            if job.todo:
                pipeline.queue.add(job.id, job.client, job.options.get("priority", 0))
            else:
                self.roots.finish(job, len(pipeline.stages))

    def trim(self, job: Job, taken: Taken) -> None:
        """These first roots of a running job are needed no more."""
        self.roots.trim(job, taken)
        self.record(job)
        if not job.todo:
            self.pipelines[job.pipeline].queue.remove(job.id)
            self.queue(job)

    def _here(self, pipeline: PipelineInfo) -> _Here:
        """The members that may get jobs of this pipeline now."""
        when = self.membership.number, frozenset(self.draining)
        known = self._here_of.get(pipeline.name)
        if known is not None and known[0] == when:
            return known[1]
        workers = [self.membership.members(pipeline.name, index) for index in range(len(pipeline.stages))]
        stages = [
            StageInfo(name, here[0].ordered if here else None)
            for name, here in zip(pipeline.stages, workers, strict=True)
        ]
        codes = self.codes.choices(pipeline.name, workers, self.draining)
        wild = any(not member.deterministic for here in workers for member in here)
        sinks = self.membership.sinks()
        spools = {sink.incarnation: sink.spool for sink in sinks}
        found = _Here(stages, workers, codes, sinks, spools, wild)
        self._here_of[pipeline.name] = when, found
        return found

    def _place(self, job: Job, pipeline: PipelineInfo, here: _Here) -> None:
        """Give a job its seats and its stamp, in a new epoch; or note what it waits for."""
        sinks = self._sinks(job, here.sinks)
        began = {} if job.stamp is None else job.stamp.codes
        codes = choose(pipeline.code, here.codes, began)
        if isinstance(codes, int):
            living = here.codes[codes].living
            job.waiting = other_code(pipeline.name, pipeline.stages[codes], began[codes], living)
            return
        workers = [
            members
            if here.codes[stage].living <= {codes.get(stage)}
            else _with_code(members, codes.get(stage))
            for stage, members in enumerate(here.workers)
        ]
        placed = self.placement.place(pipeline.name, here.stages, workers, sinks, self.draining)
        if not isinstance(placed, Placed):
            job.waiting = placed
            missing = [(pipeline.name, index) for index, workers in enumerate(here.workers) if not workers]
            if not sinks:
                missing.append(("", -1))
            for stage in missing:
                if problem := self.problems.of(*stage, self.now):
                    job.waiting = f"{placed}: it does not start: {problem}"
                    break
            return
        if job.carries and any(one.ordered or one.stateful for members in workers for one in members):
            self.placement.free(placed)
            text = f"{job.carries} jobs that travel together cannot go through a stage that is ordered or has"
            text = f"{text} reset(), which pipeline {job.pipeline} has now: submit them again"
            self.end(job, JobState.FAILED, "JobFailed", text, self.now)
            return
        order = _order(job, pipeline)
        if job.taken.roots and (placed.ordered or order != "path"):
            self.placement.free(placed)
            text = f"the first {job.taken.roots} tasks are not kept any more, since their results were taken,"
            text = f"{text} and pipeline {job.pipeline} has another order now: submit the job again"
            self.end(job, JobState.FAILED, "ResultsLost", text, self.now)
            return
        job.placed, job.waiting = placed, None
        job.epoch += 1
        job.over.clear()  # its sink says again which of its roots have ended
        self.counts.started_over(job)
        job.failures_known = job.epoch == 1 or not placed.ordered
        if not job.failures_known:
            self.unknown_failures[job.id] = self.now + ASK_EVERY
        self._move(job, JobState.RUNNING)
        hold = self._hold(job, placed, here.wild)
        # Roots may go once their results were taken. But an ordered stage would need them all again, to have
        # its state; and a job that has retries left runs again from its first root.
        job.stamp = Stamp(
            job=job.id,
            epoch=job.epoch,
            pipeline=job.pipeline,
            ordered=placed.ordered,
            sink=placed.sink,
            durability=job.options.get("durability", pipeline.durability),
            marks=job.marks,
            order=order,
            logs=job.options.get("logs", pipeline.logs),
            spool=here.spools[placed.sink],
            hold=hold,
            fail_fast=bool(job.options.get("fail_fast")) and not job.retries_left,
            reader=job.client if job.reader else b"",
            token=job.reader,
            codes=codes,
            owner=job.owner,
            trims=job.stream and not job.carries and order == "path" and not placed.ordered and not hold,
            taken=job.taken,
        )
        self.record(job)
        self.seekers.moved(job.id)
        self.senders.stamp(job.stamp)
        self.queue(job)
        if job.epoch > 1:
            self.table.stamped(job, job.stamp)
            self._tell_stamp(job.stamp)

    def _sinks(self, job: Job, sinks: list[Member]) -> list[Member]:
        """Those of the living sinks that may get a job's results.

        While the one that had them is there or may come back, it alone may get them: it knows which results
        were given out.
        """
        if job.stamp is None:
            return sinks
        if job.stamp.spool in self.lost_sinks:
            return []
        return [member for member in sinks if member.spool == job.stamp.spool] or sinks

    def _hold(self, job: Job, placed: Placed, wild: bool) -> str:
        """Which results the job's sink holds back, because a later epoch may give others in their place.

        ``wild``: a stage is not deterministic.
        """
        job.wild = job.wild or wild
        if job.retries_left:
            return "success" if job.wild else "failures"
        return "all" if job.wild and placed.ordered else ""

    def restamp(self, job: Job, stamp: Stamp) -> None:
        """Give a job a stamp of a higher revision, and send it to all members that may need it."""
        job.stamp = stamp
        self.table.stamped(job, stamp)
        self.record(job)
        if job.state is JobState.RUNNING:
            self.senders.stamp(stamp)
        self._tell_stamp(stamp)

    def _tell_stamp(self, stamp: Stamp) -> None:
        """Send a stamp to all sinks, and to all workers of its pipeline."""
        for member in self.membership.members():
            if member.role == "sink" or member.pipeline == stamp.pipeline:
                self.effects.append(Control(from_broker.NewStamp(stamp=stamp), member.incarnation))

    def ask_known_failures(self, now: float) -> None:
        """Send the stamp of each job that started over to its sink again. The sink answers with the failures
        that it has given out."""
        for name, at in self.unknown_failures.items():
            stamp = self.jobs[name].stamp
            if now >= at and stamp is not None:
                self.unknown_failures[name] = now + ASK_EVERY
                self.effects.append(Control(from_broker.NewStamp(stamp=stamp), stamp.sink))

    def _adopt_orphans(self) -> None:
        """Send the roots again whose worker has died or has given them back."""
        for outbatch in self.senders.orphans:
            job = self.jobs.get(outbatch.batch.job)
            if job is None or job.epoch != outbatch.batch.epoch:
                continue
            if job.recovering:
                self.recovery.returned(job, outbatch.batch.runs)
            else:
                self.roots.again(job, outbatch.batch.runs)
                self.queue(job)
        self.senders.orphans.clear()

    def settle(self, now: float) -> None:
        """After each event: send a changed view, place waiting jobs, send roots."""
        self.custody.zeroed.clear()
        if self.views.due(now):
            self.viewing.send(now)
        if self.senders.orphans:
            self._adopt_orphans()
        self.place_all(now)
        if self.recovery.jobs:
            self.recovery.ask({name: len(p.stages) for name, p in self.pipelines.items()}, now)
        for pipeline in self.pipelines.values():
            if pipeline.queue:
                self.roots.dispatch(pipeline.queue, self.jobs, len(pipeline.stages), now)
        self.senders.pump(now)

    def watch_time(self, job: Job, now: float) -> None:
        """Begin a job's time-outs."""
        if "timeout" in job.options:
            self.deadlines.set(job.id, now + job.options["timeout"])
        if job.stream and not job.closed:
            self.feeds.open(job.client, job.id, now)

    def time_out(self, now: float) -> None:
        """End jobs that took too long, and jobs whose feeding client is gone."""
        for job in [self.jobs[name] for name in self.deadlines.due(now)]:
            text = f"the job was not complete within its time-out of {job.options['timeout']:g} s"
            self.end(job, JobState.FAILED, "JobTimeout", text, now)
        for job in [self.jobs[name] for name in self.feeds.due(now)]:
            if job.state not in ENDED:
                text = f"the client that fed the job was not heard of for {self.feeds.patience:g} s"
                self.end(job, JobState.FAILED, "ClientLost", text, now)

    def remind(self, member: Member, known: Sequence[tuple[bytes, int, int]]) -> None:
        """A member has named the jobs that it knows: tell it again which have ended or have a newer stamp."""
        ended = []
        for name, *rank in known:
            job = self.table.find(name) if member.role == "sink" else self.jobs.get(name)
            # Of a job that did not get done, nothing is kept: its sink was told so when it ended.
            kept = (
                member.role == "sink" and job is not None and job.results_kept and job.state is JobState.DONE
            )
            if job is None or (job.state in ENDED and not kept):
                ended.append(name)
            elif (
                job.stamp is not None
                and job.state in (JobState.RUNNING, JobState.DONE)
                and job.stamp.rank > tuple(rank)
            ):
                self.effects.append(Control(from_broker.NewStamp(stamp=job.stamp), member.incarnation))
        ended += self.counts.owed(member.incarnation)
        if ended:
            self.effects.append(Control(from_broker.Forget(jobs=tuple(ended)), member.incarnation))

    def times(self) -> tuple[float | None, ...]:
        """When this and that is due."""
        return (
            self.senders.deadline(),
            self.recovery.deadline() if self.recovery.jobs else None,
            self.lost_sinks.deadline(),
            min(self.unknown_failures.values(), default=None),
            self.deadlines.first(),
            self.feeds.first(),
            self.forgets.due,
            self.confirms.due,
            self.views.deadline(),
            self.now if self.unplaced else None,
        )

    def check(self) -> None:
        """Assert every invariant."""
        self.senders.check()
        self.table.quotas.check([job for job in self.jobs.values() if job.state not in ENDED])
        backlog = Counter(dict.fromkeys(self.roots.backlog, 0))
        for job in self.jobs.values():
            backlog[job.pipeline] += job.backlog
            restamped = job.stamp is not None and job.stamp.rank > FIRST_RANK
            assert not restamped or job.id in self.table.restamped
        assert backlog == self.roots.backlog
        assert self.table.restamped.keys() <= self.jobs.keys()
        assert self.roots.cached == sum(b.nbytes for job in self.jobs.values() for b in job.cache.values())


def _with_code(members: Sequence[Member], code: str | None) -> list[Member]:
    return [member for member in members if not code or member.code == code]


def _order(job: Job, pipeline: PipelineInfo) -> str:
    """The order of a job's results. One root has no other to be ordered with: its results come by path."""
    order: str = job.options.get("order", pipeline.order)
    return "path" if order == "roots" and not job.stream else order
