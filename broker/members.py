"""Members come, go, and say things: hello, exits, leases, what a restart finds.

The part of :class:`zturbo_broker.machine.BrokerMachine` that faces workers, sinks and nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zturbo.checks import is_address
from zturbo.core.effects import Control, LogLine, Record, Reply
from zturbo.errors import DecodeError
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Stamp
from zturbo_broker.job import ENDED, Job
from zturbo_broker.placement import Placed
from zturbo_broker.reach import out_of_reach, works
from zturbo_broker.state import BrokerState
from zturbo_broker.strikes import Death, stand, strike

__all__ = ["Members"]

VOID_FOR = 10.0
"""Seconds for which nodes are told of a job that has ended before its time."""

PAUSE = 3.0
"""Seconds that a job stays paused after its sink last said so."""


class Members(BrokerState):
    """What members and nodes say."""

    def restore(self, members: list[Member], jobs: list[Job], now: float) -> None:
        """What the ledger has: the same members, and jobs that go on as far as they are known to."""
        self.membership.restore(members, now)
        self._viewed = -1  # nobody has been told of this view
        here = {member.incarnation for member in members}
        for member in members:
            if member.role == "worker" and member.stage == 0 and not member.ordered:
                self.recovery.silent[member.incarnation] = member.pipeline
        for job in jobs:
            self.jobs[job.id] = job
            if job.state not in ("failed", "cancelled") and job.stamp is not None:
                if job.stamp.sink not in here:
                    self.lost_sinks.add(job.stamp.spool, now)
            if job.state in ENDED:
                job.ended_at = now
                self._ended.append((now, job.id))
                if job.stamp is not None and not job.counts_final:
                    self.counts.ended(job, [m for m in members if m.pipeline == job.pipeline])
                continue
            self._watch(job, now)
            if job.state == "running":
                self._take_up(job, here, now)
            else:
                self.roots.rewind(job)
                if job.pipeline in self.pipelines:
                    self.pipelines[job.pipeline].waiting[job.id] = None
        self._settle(now)

    def _take_up(self, job: Job, here: set[bytes], now: float) -> None:
        """A job that was running: it goes on, unless an ordered stage's worker is gone."""
        stamp = job.stamp
        if stamp is None or job.pipeline not in self.pipelines or not {*stamp.ordered.values()} <= here:
            self._wait_again(job)
            return
        job.placed = Placed(dict(stamp.ordered), stamp.sink)
        self.placement.take(job.placed)
        self.outlet.stamp(stamp)
        job.recovering = True
        self.recovery.jobs[job.id] = job
        if not job.kept:
            self.unkept[job.id] = now

    def held(self, identity: bytes, message: to_broker.Held, now: float) -> None:
        """A worker of a first stage says which roots it has of this broker's predecessor."""
        for _, _, runs, n, _ in message.items:
            if sum(run[1] for run in runs) != n:
                raise DecodeError("held: field 'items' is malformed")
        if message.broker == self.me and message.incarnation in self.membership:
            self.recovery.report(message.incarnation, message.items, now)
            self.effects.append(Control(from_broker.HeldOk(broker=self.me), identity))
        self._settle(now)

    def entered(self, identity: bytes, message: to_broker.Entered, now: float) -> None:
        """A first sequencer says which of a job's roots have wholly entered it."""
        found = self.recovery.entered(message.job, message.epoch, message.roots)
        if found is not None:
            job, safe = found
            self.roots.resume(job, safe)
            self._queue(job)
        self._settle(now)

    def kept(self, identity: bytes, message: to_broker.Kept, now: float) -> None:
        """A sink says which failures it has given out of a job that started over: they are to stand."""
        job = self.jobs.get(message.job)
        stamp = job.stamp if job is not None else None
        if job is None or stamp is None or job.id not in self.unkept or message.epoch != job.epoch:
            return
        if message.incarnation != stamp.sink:
            return
        del self.unkept[job.id]
        job.kept = True
        job.marks = stand(job.marks, message.failures)
        self._restamp(job, replace(stamp, marks=job.marks, revision=stamp.revision + 1))
        self._queue(job)
        self._settle(now)

    def recovered(self, identity: bytes, message: to_broker.Recovered, now: float) -> None:
        """A sink has read its spool: its jobs go on with it."""
        sink = self.membership.get(message.incarnation)
        if sink is None or not sink.spool:
            return
        self.lost_sinks.back(sink.spool)
        self._unplaced = True
        damaged = set(message.damaged)
        for job in list(self.jobs.values()):
            stamp = job.stamp
            if stamp is None or stamp.spool != sink.spool or stamp.sink == sink.incarnation:
                continue
            if job.id in damaged:
                why = f"the spool of {sink.host} is damaged where it had this job"
                if job.state == "running":
                    self._results_lost(job, why, now)
                else:
                    job.incidents.append(why)
                continue
            if job.placed is not None:
                self.placement.free(job.placed)
                job.placed = Placed(job.placed.ordered, sink.incarnation)
                self.placement.take(job.placed)
            self._restamp(job, replace(stamp, sink=sink.incarnation, revision=stamp.revision + 1))
        self._remind(sink, message.jobs)
        self.effects.append(Control(from_broker.RecoveredOk(), identity))
        self._settle(now)

    def hello(self, identity: bytes, message: to_broker.Hello, now: float) -> None:
        """A worker or a sink introduces itself, and repeats it as its heartbeat."""
        member = message.member
        problem = self._misfit(member, message)
        new = not message.view and member.incarnation not in self.membership
        if problem is None and (new or self.membership.unmet(member.incarnation)):
            problem = self._apart(member, now)
        if problem:
            self.effects.append(Control(from_broker.Refused(reason=problem), identity))
            return
        if member.spool and new:
            # A spool has one sink at a time: another that had it is gone, though that was not heard yet.
            for sink in self.membership.sinks():
                if sink.spool == member.spool:
                    self.gone(sink.incarnation, now)
        changed = self.membership.join(member, message.node, message.pid, message.view, now)
        if changed is None:
            reason = "this incarnation was taken out of the view"
            self.effects.append(Control(from_broker.Refused(reason=reason), identity))
        elif changed:
            self._unplaced = True
            self.problems.over(member.pipeline, member.stage)
            self._record_members()
            self._welcome(identity, member)
        elif message.view != self.membership.number:
            self._welcome(identity, member)
        if changed is not None and member.spool:
            self.lost_sinks.seen(member.spool, message.node, message.stage)
        if changed is not None:
            self._remind(member, message.jobs)
        self._settle(now)

    def _misfit(self, member: Member, message: to_broker.Hello) -> str | None:
        if member.incarnation == self.me:
            return "it has this broker's own id"
        if message.protocol != PROTOCOL:
            return f"it speaks protocol {message.protocol}, this broker {PROTOCOL}"
        if message.version != self.version:
            return f"it is zturbo {message.version}, this broker {self.version}: install one on all hosts"
        if member.role == "sink":
            fits = member.results and all(map(is_address, member.results))
            return None if fits else f"a sink gives results at tcp://HOST:PORT, not at {member.results!r:.80}"
        pipeline = self.pipelines.get(member.pipeline)
        if member.role != "worker" or pipeline is None or not 0 <= member.stage < len(pipeline.stages):
            return f"this broker has no stage {member.pipeline}.{message.stage}"
        if pipeline.stages[member.stage] != message.stage:
            name = pipeline.stages[member.stage]
            return f"stage {member.stage} of {member.pipeline} is {name!r} here, not {message.stage!r}"
        return None

    def _apart(self, new: Member, now: float) -> str | None:
        """Why a member cannot work with those who are there; some of them may have to go instead.

        Whoever is elsewhere and has nobody to work with does not keep out who is on the broker's host, nor
        does anybody who came while a broker was away keep out who was there before.
        """
        broker = self.membership.broker
        before = new.incarnation in self.membership
        while True:
            there = [m for m in self.membership.met() if not new.spool or m.spool != new.spool]
            apart = out_of_reach(new, [broker, *there], self.name_of)
            if apart is None:
                return None
            other = apart.other
            stray = new.host == broker.host != other.host and not works(other, there)
            goes = other if other is not broker and (stray or before) else new
            self.problems.refused(goes.pipeline, goes.stage, apart.text, now)
            self._unplaced = True
            self.gone(goes.incarnation, now)
            if goes is new:
                self._settle(now)
                return apart.text

    def _remind(self, member: Member, known: Sequence[tuple[bytes, int, int]]) -> None:
        """A member names jobs that it knows: that they have ended, or a newer stamp, may have got lost."""
        ended = []
        for name, *rank in known:
            job = self.jobs.get(name)
            if job is None or (member.role == "worker" and job.state in ENDED):
                ended.append(name)
            elif job.stamp is not None and job.state in ("running", "done") and job.stamp.rank > tuple(rank):
                self.effects.append(Control(from_broker.NewStamp(stamp=job.stamp), member.incarnation))
        ended += self.counts.owed(member.incarnation)
        if ended:
            self.effects.append(Control(from_broker.Forget(jobs=tuple(ended)), member.incarnation))

    def _welcome(self, identity: bytes, member: Member) -> None:
        for job in self.jobs.values():  # first what else may have got lost: the view is what others act on
            stamp = job.stamp
            if job.state == "running" and stamp is not None and stamp.rank > (1, 0):
                if member.role == "sink" or member.pipeline == job.pipeline:
                    self.effects.append(Control(from_broker.NewStamp(stamp=stamp), identity))
        welcome = from_broker.Welcome(view=self.membership.view(), broker=self.me, version=self.version)
        self.effects.append(Control(welcome, identity))

    def get_view(self, identity: bytes, message: to_broker.GetView, now: float) -> None:
        """Somebody met a peer with a newer view than his."""
        self.effects.append(Control(from_broker.NewView(view=self.membership.view()), identity))

    def renew(self, identity: bytes, message: to_broker.Renew, now: float) -> None:
        """A node's word that these live."""
        self.lost_sinks.hear(message.node, now)
        self.membership.renew(message.alive, now)
        self.voided = {job: at for job, at in self.voided.items() if now - at < VOID_FOR}
        if self.voided:  # the word may have got lost, and what hangs would hang on
            self.effects.append(Control(from_broker.Forget(jobs=tuple(self.voided)), message.node))
        self.effects.append(Reply(identity, from_broker.Renewed()))

    def stood_still(self, seconds: float) -> None:
        """This broker did not run for so long, and perhaps its whole host: nodes there have not either."""
        self.membership.extend(seconds)

    def leave(self, identity: bytes, message: to_broker.Leave, now: float) -> None:
        """A member says goodbye."""
        self.gone(message.incarnation, now)

    def exited(self, identity: bytes, message: to_broker.Exited, now: float) -> None:
        """A node saw a member exit."""
        running = message.running
        death = Death(-1, message.stage, message.text, message.cause, running)
        source = message.stage.split(" (")[0]
        job = running[0][0] if running else b""
        self.effects.append(LogLine("WARNING" if message.code else "INFO", source, job, death.sentence))
        self.gone(message.incarnation, now, death)
        self._ok(identity, message.ref, None)

    def gone(self, incarnation: bytes, now: float, death: Death | None = None) -> None:
        """This member lives no more."""
        member = self.membership.remove(incarnation)
        if member is None:
            return
        if death is not None and member.role == "worker":
            death = replace(death, stage=member.stage)
            self._note_death(member, death, now)
        elif death is not None:
            self._tell_jobs(member, death.sentence)
        self._lost([member], now)

    def _note_death(self, member: Member, death: Death, now: float) -> None:
        """Tell the jobs that were running; count strikes. The marks are said before the view is."""
        running = {item[0]: item[3] for item in death.running}
        for job in self.jobs.values():
            stamp = job.stamp
            concerned = stamp is not None and member.incarnation in stamp.ordered.values()
            if job.id in running or (concerned and job.state == "running"):
                job.incidents.append(death.sentence)
        for name, given in running.items():
            known = self.jobs.get(name)
            if known is not None and known.state not in ENDED and known.stamp is not None:
                self._strike(known, known.stamp, death, given, now)

    def _strike(self, job: Job, stamp: Stamp, death: Death, given: int, now: float) -> None:
        pipeline = self.pipelines.get(job.pipeline)
        limit = pipeline.max_task_retries if pipeline is not None else 3
        stood = {(mark.stage, mark.path): mark.given for mark in job.marks if mark.given}
        if strike(job, death, limit):
            mark = job.marks[-1]
            before = stood.get((mark.stage, mark.path))
            unaware = before == given  # it got as far as is known, and had not heard that this is all
            if mark.kind and not unaware and (before or (mark.given and job.epoch > 1)):
                # It may have given more in an earlier epoch, and all that came after it with that.
                why = f"{mark.text}; what it had given cannot be made again"
                self._end(job, "failed", "ResultsLost", f"{why}: submit the job again", now)
                return
            self._restamp(job, replace(stamp, marks=job.marks, revision=stamp.revision + 1))
        else:
            self._record(job)

    def broken(self, identity: bytes, message: to_broker.Broken, now: float) -> None:
        """A member gets no answer from another, though the broker hears both."""
        self.complaints.add(message.incarnation, message.peer, now)

    def drain(self, identity: bytes, message: to_broker.Draining, now: float) -> None:
        """A member is about to leave."""
        if message.incarnation in self.membership:
            self.draining.add(message.incarnation)
        self._settle(now)

    def note_trouble(self, identity: bytes, message: to_broker.Trouble, now: float) -> None:
        """A member says what keeps it from going on; an empty text ends it."""
        if message.incarnation in self.membership:
            self.trouble[message.incarnation] = message.text

    def pause(self, identity: bytes, message: to_broker.Pause, now: float) -> None:
        """A sink has more than a job's share of unread results: its sources wait. Repeated while it lasts."""
        job = self.jobs.get(message.job)
        if job is not None and job.epoch == message.epoch:
            job.paused_until = now + PAUSE

    def start_failed(self, identity: bytes, message: to_broker.StartFailed, now: float) -> None:
        """A worker of ``pipeline.stage`` could not start."""
        text = f"{message.stage} does not start: {message.error}"
        self.effects.append(LogLine("ERROR", message.stage, b"", text))
        name, _, stage_name = message.stage.rpartition(".")
        pipeline = self.pipelines.get(name)
        if pipeline is not None and stage_name in pipeline.stages:
            self.problems.failed(name, pipeline.stages.index(stage_name), message.error)
            self._unplaced = True
        self._settle(now)
        self._answer(identity, message.ref, None)

    def _taken_out(self, members: list[Member], why: str, now: float) -> None:
        """These are out of the view, though nobody saw them exit."""
        for member in members:
            self._tell_jobs(member, f"{self.name_of(member)} on {member.host} {why}")
        self._lost(members, now)

    def _tell_jobs(self, member: Member, text: str) -> None:
        """What became of a member, for the jobs that it worked for."""
        for job in self.jobs.values():
            stamp = job.stamp
            if stamp is None or job.state != "running":
                continue
            *_, queued, running = self.counts.of(member.incarnation, job.id)
            if member.incarnation in (stamp.sink, *stamp.ordered.values()) or queued or running:
                job.incidents.append(text)

    def _lost(self, members: list[Member], now: float) -> None:
        gone = {member.incarnation for member in members}
        for incarnation in gone:
            self.trouble.pop(incarnation, None)
            self.draining.discard(incarnation)
            self.recovery.lost(incarnation)
        self._record_members()
        self._unplaced = True
        for member in members:
            for job in self.counts.gone(member, self.jobs):
                self.effects.append(Record("note_job", (job,)))
            if member.role == "sink" and member.spool:
                self.lost_sinks.add(member.spool, now)
        for job in list(self.jobs.values()):
            stamp = job.stamp
            if stamp is None or job.state != "running":
                continue
            if gone & {*stamp.ordered.values()}:
                self._wait_again(job)
            elif stamp.sink in gone and not stamp.spool:
                self._results_lost(job, "its sink is gone", now)
        self._settle(now)

    def _give_up_sinks(self, now: float) -> None:
        """A sink has not come back: what it had is run again."""
        for spool in self.lost_sinks.given_up(now):
            self._unplaced = True
            for job in list(self.jobs.values()):
                if job.state == "running" and job.stamp is not None and job.stamp.spool == spool:
                    self._results_lost(job, "its sink did not come back with its spool", now)

    def note_progress(self, identity: bytes, message: to_broker.Progress, now: float) -> None:
        """A member's counts of tasks per job: given, failed, queued, running."""
        if message.incarnation in self.membership:
            self.counts.note(message.incarnation, message.counts)

    def last_counts(self, identity: bytes, message: to_broker.LastCounts, now: float) -> None:
        """A member's last word on jobs that have ended."""
        member = self.membership.get(message.incarnation)
        for name, numbers in message.counts.items():
            job = self.jobs.get(name)
            if member is not None and job is not None and self.counts.last(job, member, *numbers):
                self.effects.append(Record("note_job", (job,)))
        self._settle(now)
