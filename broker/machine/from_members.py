"""Messages of workers, sinks and nodes, but those about jobs (``job_reports.py``)."""

from __future__ import annotations

from zturbo.checks import is_address
from zturbo.core.effects import Control, LogLine, Reply
from zturbo.errors import DecodeError
from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL
from zturbo_broker.jobs.strikes import Death
from zturbo_broker.machine.departures import Departures
from zturbo_broker.machine.known import Known
from zturbo_broker.machine.lifecycle import Lifecycle
from zturbo_broker.machine.newcomers_code import NewcomersCode
from zturbo_broker.machine.reachability import Reachability
from zturbo_broker.members.complaints import Complaints
from zturbo_broker.members.leases import About
from zturbo_broker.members.reach import plain_host, why_apart, works

__all__ = ["FromMembers"]

VOID_FOR = 10.0
"""Seconds for which nodes are told of a job that has ended before its time."""


class FromMembers:
    """Handlers of what workers, sinks and nodes say of themselves.

    Args:
        known: the facts that all parts use.
        life: the lifecycle of jobs.
        departures: told of members that leave.
        complaints: told of links that members report broken.
        reachability: tries newcomers and broken links.
    """

    def __init__(
        self,
        known: Known,
        life: Lifecycle,
        departures: Departures,
        complaints: Complaints,
        reachability: Reachability,
    ) -> None:
        self.known = known
        self.say = known.say
        self.effects = known.effects
        self.pipelines = known.pipelines
        self.membership = known.membership
        self.problems = known.problems
        self.trouble = known.trouble
        self.life = life
        self.departures = departures
        self.complaints = complaints
        self.reachability = reachability
        self.codes = NewcomersCode(known, life.draining)

    def hello(self, identity: bytes, message: to_broker.Hello, now: float) -> None:
        """A worker or a sink introduces itself, and repeats it as its heartbeat."""
        member = _member(message)
        if foreign := self._foreign(message):
            self._note_foreign(member, foreign, now)
            self.effects.append(Control(from_broker.Refused(reason=foreign, final=True), identity))
            return
        problem = self._misfit(member, message)
        new = not message.view and member.incarnation not in self.membership
        if problem is None and new:
            problem = self._crowded(member, now)
        if problem is None and (new or self.membership.unmet(member.incarnation)):
            apart = self._apart(member, now)
            if apart and new:
                self.reachability.keep_apart(message, apart, now)
                self._tell_news()
                return
            problem = apart
        if problem:
            self.effects.append(Control(from_broker.Refused(reason=problem), identity))
            return
        if not new or self.reachability.may_join(message, now):
            self._join(message, now)

    def admit(self, now: float) -> None:
        """Let newcomers join that have passed their trials. Members of lonely hosts go for them."""
        passed = self.reachability.passed(now)
        self._tell_news()
        for hello, yielding in passed:
            for member, why in yielding:
                self.cut_off(member, why, now)
            if hello.member.incarnation not in self.membership:
                self._join(hello, now)

    def _tell_news(self) -> None:
        """Let jobs that wait say who is kept out, and why."""
        self.life.unplaced = self.life.unplaced or self.reachability.news
        self.reachability.news = False

    def cut_off(self, member: Member, why: str, now: float, *, final: bool = False) -> None:
        """Take a member out of the view, since it and another do not reach each other, or for another reason.

        Args:
            member: the member.
            why: the reason, as a sentence.
            now: the time.
            final: whether no process in its place can join either.
        """
        if self.membership.remove(member.incarnation) is None:
            return
        self.effects.append(Control(from_broker.Refused(reason=why, final=final), member.incarnation))
        self.effects.append(LogLine("WARNING", self.known.name_of(member), b"", why))
        self.problems.refused(member.pipeline, member.stage, why, now)
        self.departures.taken_out([member], f"was taken out: {why}", now)

    def _join(self, message: to_broker.Hello, now: float) -> None:
        member = _member(message)
        identity = member.incarnation
        if member.spool and not message.view and identity not in self.membership:
            # A spool has one sink at a time: an earlier one has died, though the broker was not told.
            for sink in self.membership.sinks():
                if sink.spool == member.spool:
                    self.departures.gone(sink.incarnation, now)
        if identity not in self.membership and (unlike := self.codes.unlike(member, now)):
            self.effects.append(Control(from_broker.Refused(reason=unlike), identity))
            return
        if identity not in self.membership and (awaits := self.codes.awaits(member)):
            self.effects.append(Control(from_broker.NotAdmitted(reason=awaits), identity))
            return
        unmet = self.membership.unmet(identity)
        changed = self.membership.join(member, message.node, message.pid, message.view, now)
        if changed is None:
            reason = "this incarnation was taken out of the view"
            self.effects.append(Control(from_broker.Refused(reason=reason), identity))
        elif changed:
            self.life.unplaced = True
            self.problems.over(member.pipeline, member.stage)
            self.codes.joined(member)
            self.known.members_changed()
            self._welcome(identity)
            if member.role == "sink":
                self.life.seekers.sink_came()
        elif self.life.views.behind(message.view):
            self._welcome(identity)
        if unmet and not changed and changed is not None:
            self.codes.joined(member)
        if changed is not None and member.spool:
            self.life.lost_sinks.seen(member.spool, message.node, message.stage_name)
        if changed is not None:
            about = About(message.version, message.python, message.code, message.cpu, message.memory)
            self.membership.note(member.incarnation, about)
            self.life.remind(member, message.jobs)
            if unmet:  # it may have been asked while it had no connection to this broker
                self.life.recovery.ask_again(member.incarnation)

    def _foreign(self, message: to_broker.Hello) -> str:
        """Why no process of the member's installation can join, however often it comes; empty if one can."""
        if message.protocol != PROTOCOL:
            return f"it speaks protocol {message.protocol}, this broker {PROTOCOL}"
        if message.version != self.known.version:
            return (
                f"it is zturbo {message.version}, this broker {self.known.version}: install one on all hosts"
            )
        return ""

    def _note_foreign(self, member: Member, why: str, now: float) -> None:
        """Tell of such a member in ``zturbo jobs`` and ``zturbo logs``."""
        pipeline = self.pipelines.get(member.pipeline)
        known = pipeline is not None and 0 <= member.stage < len(pipeline.stages)
        if not known and member.role != "sink":
            return  # a stranger's name: nothing is kept of it
        name = self.known.name_of(member)
        place = (member.pipeline, member.stage) if known else ("", -1)
        text = f"the one on {plain_host(member)} is refused: {why}"
        if self.problems.of(*place, now) != text:
            self.effects.append(LogLine("ERROR", name, b"", f"{name}: {text}"))
        self.known.refused_for_good(*place, text, now)
        self.life.unplaced = True

    def _crowded(self, member: Member, now: float) -> str | None:
        """Why this broker cannot have one more member; None if it can."""
        here = len(self.membership)
        if here < self.known.room:
            return None
        text = (
            f"the broker has {here} members, for more of which it may not have enough open files: raise the "
            "limit of the broker, by 'ulimit -n', LimitNOFILE of systemd, or /etc/security/limits.conf there"
        )
        self.problems.refused(member.pipeline, member.stage, text, now)
        self.life.unplaced = True
        return text

    def _misfit(self, member: Member, message: to_broker.Hello) -> str | None:
        if member.incarnation == self.known.me:
            return "it has this broker's own id"
        if member.role == "sink":
            fits = member.results and all(map(is_address, member.results))
            for other in self.membership.sinks():
                if member.spool and other.spool == member.spool and other.key != member.key:
                    return "its spool is that of a sink under another node's key"
            return None if fits else f"a sink gives results at tcp://HOST:PORT, not at {member.results!r:.80}"
        pipeline = self.pipelines.get(member.pipeline)
        if member.role != "worker" or pipeline is None or not 0 <= member.stage < len(pipeline.stages):
            return f"this broker has no stage {member.pipeline}.{message.stage_name}"
        if pipeline.stages[member.stage] != message.stage_name:
            name = pipeline.stages[member.stage]
            return f"stage {member.stage} of {member.pipeline} is {name!r} here, not {message.stage_name!r}"
        return None

    def _apart(self, new: Member, now: float) -> str | None:
        """Why a newcomer is kept out: a member with which it has a link cannot reach it. None if it may stay.

        Such a newcomer is kept out, with two exceptions, in which the other member is taken out. A remote
        member without any reachable partner yields to a newcomer on the broker's host. A member that joined
        while the broker was away yields to one from before; but the broker itself does not.
        """
        broker = self.membership.broker
        before = new.incarnation in self.membership
        while True:
            other = self.membership.places.apart(new)
            if other is None:
                return None
            why = why_apart(new, other, self.known.name_of)
            stray = new.host == broker.host != other.host and not works(other, self.membership.met())
            goes = other if other is not broker and (stray or before) else new
            if goes is other or before:
                self.problems.refused(goes.pipeline, goes.stage, why, now)
                self.life.unplaced = True
                self.departures.gone(goes.incarnation, now)
            if goes is new:
                return why

    def _welcome(self, identity: bytes) -> None:
        """Send a member the whole view: a large one together with the next change."""
        if self.life.views.large:
            self.life.views.owed[identity] = None
        else:
            self.life.viewing.welcome([identity])

    def get_view(self, identity: bytes, message: to_broker.GetView, now: float) -> None:
        """A member has met a peer with a newer view than its own."""
        if not self.life.views.behind(message.view):
            return  # a change is on its way to it, or soon will be
        self.effects.append(Control(from_broker.NewView(view=self.membership.view()), identity))

    def renew(self, identity: bytes, message: to_broker.Renew, now: float) -> None:
        """A node says which of its members live."""
        self.life.lost_sinks.hear(message.node, now)
        self.membership.renew(message.alive, now)
        self.membership.wants(message.node, message.wanted, now)
        if message.gpus:
            host = next((m.host for m in map(self.membership.get, message.alive) if m is not None), None)
            if host is not None:
                self.known.gpus.told(host, message.gpus, now)
        voided = self.life.voided = {job: at for job, at in self.life.voided.items() if now - at < VOID_FOR}
        if voided:  # the first message may have got lost, and a task that hangs would hang on
            self.effects.append(Control(from_broker.Forget(jobs=tuple(voided)), message.node))
        self.effects.append(Reply(identity, from_broker.Renewed()))

    def leave(self, identity: bytes, message: to_broker.Leave, now: float) -> None:
        """A member says that it leaves."""
        self.departures.gone(message.incarnation, now)

    def exited(self, identity: bytes, message: to_broker.Exited, now: float) -> None:
        """A node saw a member exit.

        Raises:
            DecodeError: the member belongs to another node.
        """
        if self.membership.node_of(message.incarnation) not in (None, b"", identity):
            raise DecodeError("exited is about another node's member")
        running = message.running
        death = Death(-1, message.who, message.text, message.cause, running)
        source = message.who.split(" (")[0]
        job = running[0][0] if running else b""
        self.effects.append(LogLine("WARNING" if message.code else "INFO", source, job, death.sentence))
        self.departures.gone(message.incarnation, now, death)
        self.say.ok(identity, message.ref, None)

    def pinging(self, identity: bytes, message: to_broker.Pinging, now: float) -> None:
        """A process has sent the pings that it was asked for."""
        self.reachability.pinging(identity, message.trial, now)

    def pinged(self, identity: bytes, message: to_broker.Pinged, now: float) -> None:
        """A process has got another's ping."""
        self.reachability.pinged(message.source, identity, message.trial, now)
        self.admit(now)

    def broken(self, identity: bytes, message: to_broker.Broken, now: float) -> None:
        """A member gets no answer from another, though the broker hears both."""
        self.accuse(message.incarnation, message.peer, now)

    def accuse(self, who: bytes, about: bytes, now: float) -> None:
        """Note that a member, or the broker, gets no answer from another member."""
        self.reachability.suspect(who, about, now)
        if self.complaints.add(who, about, now):
            self.effects.append(Control(from_broker.SayHello(), about))

    def break_off(self, now: float) -> None:
        """Take out one end of a link that has been broken for a lease.

        If the pings of its ends come, or it is not known whether they do, one end may only be slow. Then the
        link has more time, in which it is tried again and again.
        """
        complaints, reachability = self.complaints, self.reachability
        overdue = complaints.overdue(now)
        for who, about in overdue:
            if not reachability.tried(who, about, complaints.since(who, about), now):
                continue
            found = reachability.verdict(who, about, now)
            if found is None:
                new, too_long = complaints.to_tell(who, about), complaints.outlasts(who, about, now)
                found = reachability.unclear(who, about, now) if new or too_long else None
                if found is not None and new:
                    text = f"{found[1]}: one of them may be slow, so this is watched for a while"
                    self.effects.append(LogLine("WARNING", self.known.name_of(found[0]), b"", text))
                if found is None or not too_long:
                    continue
                complaints.settle(who)  # its other links, and those of the other end, have as much time again
                complaints.settle(about)
            member, why = found
            complaints.settle(member.incarnation)
            self.cut_off(member, why, now)
            return
        if overdue:
            complaints.postpone(now)

    def drain(self, identity: bytes, message: to_broker.Draining, now: float) -> None:
        """A member is about to leave."""
        if message.incarnation in self.membership:
            self.life.draining.add(message.incarnation)

    def note_trouble(self, identity: bytes, message: to_broker.Trouble, now: float) -> None:
        """A member says what keeps it from going on; an empty text ends it."""
        if message.incarnation in self.membership:
            self.trouble[message.incarnation] = message.text

    def start_failed(self, identity: bytes, message: to_broker.StartFailed, now: float) -> None:
        """A node says that one of its children could not start."""
        text = f"{message.who} does not start: {message.error}"
        self.effects.append(LogLine("ERROR", message.who, b"", text))
        name, _, stage_name = message.who.rpartition(".")
        pipeline = self.pipelines.get(name)
        if pipeline is not None and stage_name in pipeline.stages:
            self.problems.failed(name, pipeline.stages.index(stage_name), message.error)
            self.life.unplaced = True
        self.say.now(identity, message.ref, None)


def _member(message: to_broker.Hello) -> Member:
    """The member that says hello, with its code if it is a worker."""
    return replace(message.member, code=message.code if message.member.role == "worker" else "")
