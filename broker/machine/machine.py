"""The broker's machine: jobs in, roots out to the first stage, completion noted.

The machine decides, and its shell, :mod:`zturbo_broker.server`, performs. The shell sends no message before
the ledger has all records that the machine made before it: it commits once per round (group commit).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from zturbo.core.deadlines import earliest
from zturbo.core.effects import Control
from zturbo.core.rounds import Rounds
from zturbo.jobstates import ENDED, JobState
from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Batch, DataMessage, Ping, Statement
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.strikes import Death
from zturbo_broker.jobs.table import Archive, NoArchive
from zturbo_broker.machine.departures import Departures
from zturbo_broker.machine.descriptions import Descriptions
from zturbo_broker.machine.from_clients import FromClients
from zturbo_broker.machine.from_members import FromMembers
from zturbo_broker.machine.job_reports import JobReports
from zturbo_broker.machine.known import Known, PipelineInfo
from zturbo_broker.machine.lifecycle import Lifecycle
from zturbo_broker.machine.reachability import Reachability
from zturbo_broker.machine.restart import Restart
from zturbo_broker.machine.telemetry import Telemetry
from zturbo_broker.members.complaints import Complaints
from zturbo_broker.members.rights import User
from zturbo_broker.members.speakers import check_speaker

__all__ = ["BrokerMachine"]


class BrokerMachine:
    """The broker: what follows from each message, from each chunk that was read, and from time.

    Args:
        member: the broker's own record in the view.
        pipelines: the pipelines that it serves.
        view: number of the view to begin with.
        lease: seconds that a member lives without being renewed.
        keep: seconds that results of an ended job are kept.
        feed_timeout: seconds that a client may be silent while it feeds a job.
        grace: seconds that a lost sink has to come back with its spool.
        version: of zturbo; members of another version are refused.
        cluster: id of the ledger, for clients.
        archive: the jobs that the ledger has; None if there is no ledger.
        room: members that it has descriptors for.
    """

    def __init__(
        self,
        member: Member,
        pipelines: list[PipelineInfo],
        *,
        view: int,
        lease: float = 5.0,
        keep: float = 86400.0,
        feed_timeout: float = 60.0,
        grace: float = 10.0,
        version: str = "",
        cluster: bytes = b"",
        archive: Archive | None = None,
        room: int = 1 << 30,
    ) -> None:
        known = Known(
            member,
            pipelines,
            view=view,
            lease=lease,
            version=version,
            cluster=cluster,
            archive=archive or NoArchive(),
        )
        known.room = room
        self.known = known
        self.me = known.me
        self.effects = known.effects
        self.pipelines = known.pipelines
        self.membership = known.membership
        self.jobs = known.jobs
        self.trouble = known.trouble
        self.life = Lifecycle(known, keep=keep, feed_timeout=feed_timeout, grace=grace)
        self.senders = self.life.senders
        self.complaints = Complaints(lease, self._heard)
        self.departures = Departures(known, self.life)
        self.reachability = Reachability(known)
        self.members = FromMembers(known, self.life, self.departures, self.complaints, self.reachability)
        self.reports = JobReports(known, self.life)
        self.descriptions = Descriptions(known, self.life)
        self.clients = FromClients(known, self.life, self.descriptions)
        self.restarts = Restart(known, self.life)
        self.telemetry = Telemetry(known, self.life)
        self.handlers = self._handlers()
        self.rounds = Rounds(self._settle)

    def _handlers(self) -> dict[type[Message], Callable[[bytes, Any, float], None]]:
        """Class of message -> its handler: (who said it, message, time)."""
        members, reports = self.members, self.reports
        clients, restarts = self.clients, self.restarts
        return {
            to_broker.Hello: members.hello,
            to_broker.GetView: members.get_view,
            to_broker.Leave: members.leave,
            to_broker.Progress: reports.note_progress,
            to_broker.LastCounts: reports.last_counts,
            to_broker.Broken: members.broken,
            to_broker.Pinging: members.pinging,
            to_broker.Pinged: members.pinged,
            to_broker.Draining: members.drain,
            to_broker.Trouble: members.note_trouble,
            to_broker.Pause: reports.pause,
            to_broker.RootsTaken: reports.roots_taken,
            to_broker.Complete: reports.complete,
            to_broker.JobFailed: reports.job_failed,
            to_broker.Renew: members.renew,
            to_broker.Exited: members.exited,
            to_broker.StartFailed: members.start_failed,
            to_broker.Held: restarts.held,
            to_broker.Entered: restarts.entered,
            to_broker.KnownFailures: restarts.known_failures,
            to_broker.Recovered: restarts.recovered,
            to_broker.ClientHello: clients.client_hello,
            to_broker.Submit: clients.submit,
            to_broker.Feed: clients.feed,
            to_broker.CloseFeed: clients.close_feed,
            to_broker.Attach: clients.attach,
            to_broker.Watch: clients.watch,
            to_broker.Cancel: clients.cancel,
            to_broker.Release: clients.release,
            to_broker.Jobs: self.descriptions.describe,
            to_broker.Members: self.descriptions.list_members,
            to_broker.Measured: self.telemetry.measured,
            to_broker.Telemetry: self.telemetry.answer,
        }

    def _heard(self, incarnation: bytes) -> float | None:
        """When this member was last heard; None if it is no member. The broker always hears itself."""
        return math.inf if incarnation == self.me else self.membership.heard(incarnation)

    def _settle(self, now: float) -> None:
        if self.life.views.changed:
            self.departures.leave_old_code(now)
        self.life.settle(now)
        if self.known.counts.questions:
            self.descriptions.answer(now)

    def restore(self, members: list[Member], jobs: list[Job], now: float) -> None:
        """Begin with what the ledger has: its members, and its jobs, which go on."""
        self.restarts.restore(members, jobs, now)
        self.rounds.event(now)

    def control(self, who: bytes, message: Message, now: float, user: User | None = None) -> None:
        """Handle a control message.

        Args:
            who: the identity that it came from.
            message: the message.
            now: the time.
            user: whose key it came under; None without keys. Whether that key may send it is checked before,
                by :class:`~zturbo_broker.members.rights.Rights`.

        Raises:
            DecodeError: it speaks in another's name, or its fields contradict each other in a way that the
                schema does not check. Nothing is changed.
        """
        check_speaker(who, message)
        self.known.user = user
        if type(message) is to_broker.Hello:  # a key is proved by the connection, and by nothing else
            key = "" if user is None else user.key
            if message.member.key != key:
                message = message.but(member=replace(message.member, key=key))
        self.life.feeds.heard(who, now)
        self.handlers[type(message)](who, message, now)
        self.rounds.event(now)

    def recorded(self) -> None:
        """The ledger has all that was recorded."""
        self.known.table.recorded()

    def gone(self, incarnation: bytes, now: float, death: Death | None = None) -> None:
        """A member has died or left."""
        self.departures.gone(incarnation, now, death)
        self.rounds.event(now)

    def loaded(self, job_id: bytes, seq: int, roots: Batch, now: float) -> None:
        """A chunk was read from the ledger."""
        if (job := self.jobs.get(job_id)) is not None:
            self.life.roots.loaded(job, seq, roots)
        self.rounds.event(now)

    def unreadable(self, job_id: bytes, seq: int, error: str, now: float) -> None:
        """A chunk cannot be read from the ledger any more: its job cannot be whole, if it needs the chunk."""
        job = self.jobs.get(job_id)
        if job is not None and job.state not in ENDED and seq >= job.chunks.trimmed:
            self.life.end(job, JobState.FAILED, "JobFailed", error, now)
        self.rounds.event(now)

    def data(self, message: DataMessage, now: float) -> None:
        """A first stage's word on its input, or a ping; a message of another kind is dropped."""
        if type(message) is Statement:
            self.senders.statement(message, now)
        elif type(message) is Ping and message.target == self.me:
            self.reachability.pinged(message.source, self.me, message.trial, now)
            self.members.admit(now)
        self.rounds.event(now)

    def revoked(self, keys: set[str], now: float) -> None:
        """These keys are not let in any more: their members are out of the view at once."""
        for member in self.membership.members():
            if member.key in keys:
                self.members.cut_off(member, "the key of its node was revoked", now, final=True)
        self.rounds.event(now)

    def stood_still(self, seconds: float) -> None:
        """This broker did not run for so long, and perhaps its whole host did not: no lease ran meanwhile."""
        self.membership.extend(seconds)

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        times = (
            self.membership.deadline(),
            self.complaints.deadline(),
            self.reachability.deadline(),
            self.known.counts.deadline() if self.known.counts.questions else None,
            *self.life.times(),
        )
        return earliest(times)

    def tick(self, now: float) -> None:
        """Do what is due by now."""
        for quiet in self.membership.ask(now):
            self.effects.append(Control(from_broker.SayHello(), quiet))
        expired = self.membership.expire(now)
        if expired:
            self.departures.taken_out(expired, "was not heard of for its lease, and counts as dead", now)
        self.departures.give_up_sinks(now)
        for peer in self.senders.complaints(now):
            self.members.accuse(self.me, peer, now)
        self.members.break_off(now)
        self.members.admit(now)
        self.reachability.tick(now)
        self.life.time_out(now)
        self.effects.extend(self.life.forgets.say(now))
        self.effects.extend(self.life.confirms.say(now))
        self.life.ask_known_failures(now)
        self.life.history.prune_old(now)
        self.senders.tick(now)
        self.rounds.event(now)

    def check(self) -> None:
        """Assert every invariant."""
        self.life.check()
        self.membership.check()
