"""Who reaches whom: newcomers are tried before they join, and links that members report broken are tried too.

A newcomer and a few members on other hosts ping each other, in both directions (``members/trials.py``). Each
newcomer is tried with :data:`PEERS` members at most, and many newcomers are tried at a time. One that fails
waits, as no member, and is tried again at growing intervals; ``members/verdict.py`` decides who fails. A
newcomer that has no address for another host, or for which another has none, waits too.

Nobody waits for ever: after :data:`GIVE_UP` leases a newcomer is refused for good. But where an earlier
process of its node, in its place, was known to reach another host, the network is likely to come back by
itself: such a newcomer is tried on.

The two ends of a link that is reported broken ping each other, and a few others ping them. So it becomes
known which of the two others reach, and in which direction the link is broken.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from zturbo.core.effects import Control, LogLine
from zturbo.core.links.pings import send_pings
from zturbo.slotted import slotted
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo_broker.machine.known import Known
from zturbo_broker.members.reach import linked
from zturbo_broker.members.trials import Trial
from zturbo_broker.members.verdict import End, goes, newcomer_goes, sentence

__all__ = ["PEERS", "Reachability"]

PEERS = 8
"""Members that a newcomer is tried with at most."""

WITNESSES = 4
"""Other members that each end of a broken link is tried with at most."""

LINKS = 8
"""Broken links that are tried at a time at most."""

RETRY, RETRY_MAX = 1.0, 30.0
"""Seconds until a newcomer that failed is tried again: at first, and at most."""

GIVE_UP = 24
"""Leases for which a newcomer is kept out without a break, before it is refused for good: two minutes, if a
lease has five seconds. A network may be half up at a start."""

PROVED = 10_000
"""Places of nodes that are known to have been reached, at most; the oldest is forgotten."""

GONE_AFTER = 5.0
"""Seconds without a hello after which a newcomer is forgotten."""

REPEAT = 5.0
"""Seconds after which a link is tried again that still is reported broken, though a trial has not found it
so."""

KEPT = 10.0
"""Seconds for which the trial of a broken link is remembered."""


@slotted
class _Newcomer:
    hello: to_broker.Hello
    heard: float
    trial: Trial | None = None
    retry_at: float = 0.0
    wait: float = RETRY
    told: str = ""
    """Why it was kept out, the last time."""
    since: float | None = None
    """Since when it is kept out; None if it is not."""
    apart: bool = False
    """Whether it and a member have no addresses for each other, so that there is nothing to try."""

    @property
    def due(self) -> float:
        """When it is to be tried, or forgotten."""
        return self.heard + GONE_AFTER if self.apart else self.retry_at


class Reachability:
    """The trials of newcomers and of broken links.

    Args:
        known: the facts that all parts use.
    """

    def __init__(self, known: Known) -> None:
        self.known = known
        self.effects = known.effects
        self.membership = known.membership
        self._numbers = itertools.count(1)
        self._trials: dict[int, Trial] = {}
        self._newcomers: dict[bytes, _Newcomer] = {}
        self._links: dict[frozenset[bytes], Trial] = {}
        self._proved: dict[tuple[bytes, str, int], None] = {}
        """(node, pipeline, stage) of members that were known to reach another host."""
        self.news = False
        """Whether somebody is kept out for a reason that was not told before. Its reader sets it back."""

    # -- trials -------------------------------------------------------------------------------
    def _begin(self, pairs: Iterable[tuple[Member, Member]], now: float) -> Trial:
        trial = Trial(next(self._numbers), pairs, now)
        self._trials[trial.number] = trial
        self._ask(trial, now)
        return trial

    def _ask(self, trial: Trial, now: float) -> None:
        for who, whom in trial.asks(now):
            if who.role == "broker":
                send_pings(self.known.me, trial.number, whom, self.effects)
                trial.awake(who.incarnation, now)
            else:
                order = from_broker.PingThem(trial=trial.number, members=whom)
                self.effects.append(Control(order, who.incarnation))

    def pinging(self, who: bytes, number: int, now: float) -> None:
        """A process says that it has sent its pings."""
        if (trial := self._trials.get(number)) is not None:
            trial.awake(who, now)

    def pinged(self, source: bytes, target: bytes, number: int, now: float) -> None:
        """A process says that another's ping has come."""
        if (trial := self._trials.get(number)) is not None:
            trial.came(source, target, now)

    def _everybody(self) -> list[Member]:
        return [self.membership.broker, *self.membership.met()]

    # -- newcomers ----------------------------------------------------------------------------
    def may_join(self, hello: to_broker.Hello, now: float) -> bool:
        """Whether a newcomer may join at once. If not, it is tried, and joins when :meth:`passed` has it."""
        member = hello.member
        new = self._newcomers.get(member.incarnation)
        if new is None:
            new = _Newcomer(hello, now)
            if not self._try(new, now):
                return True
            self._newcomers[member.incarnation] = new
        new.hello, new.heard = hello, now
        if new.apart:
            self.known.problems.let_in(member.incarnation)
            new.apart, new.since, new.told, new.retry_at = False, None, "", now
        if new.told:
            self.known.problems.kept_out(member, new.told, now + GONE_AFTER)
        return False

    def keep_apart(self, hello: to_broker.Hello, why: str, now: float) -> None:
        """A newcomer and a member have no addresses for each other. It waits until one of the two is gone."""
        new = self._newcomers.setdefault(hello.member.incarnation, _Newcomer(hello, now))
        if new.trial is not None:
            del self._trials[new.trial.number]
            new.trial = None
        new.hello, new.heard, new.apart = hello, now, True
        self._keep_out(new, why, now)

    def _try(self, new: _Newcomer, now: float) -> bool:
        """Begin a trial of a newcomer. False if there is no member to try it with."""
        peers = self.membership.places.choose(new.hello.member, PEERS)
        if not peers:
            return False
        new.trial = self._begin([(new.hello.member, peer) for peer in peers], now)
        return True

    def passed(self, now: float) -> list[tuple[to_broker.Hello, list[tuple[Member, str]]]]:
        """Newcomers that are to join now, each with the members that go for it, and why."""
        out: list[tuple[to_broker.Hello, list[tuple[Member, str]]]] = []
        for incarnation, new in list(self._newcomers.items()):
            trial = new.trial
            if now >= new.heard + GONE_AFTER:
                self._forget(incarnation)
            elif trial is None and not new.apart and now >= new.retry_at and not self._try(new, now):
                self._forget(incarnation)
                out.append((new.hello, []))
            elif trial is not None and trial.over(now):
                del self._trials[trial.number]
                new.trial = None
                keeps_out, yielding = self._judge(new.hello.member, trial, now)
                if keeps_out:
                    new.retry_at = now + new.wait
                    new.wait = min(RETRY_MAX, 2 * new.wait)
                    self._keep_out(new, keeps_out, now)
                else:
                    self._prove(new.hello, trial, now)
                    self._forget(incarnation)
                    out.append((new.hello, yielding))
        return out

    def _forget(self, incarnation: bytes) -> None:
        new = self._newcomers.pop(incarnation)
        if new.trial is not None:
            del self._trials[new.trial.number]
        self.known.problems.let_in(incarnation)

    def _judge(self, member: Member, trial: Trial, now: float) -> tuple[str, list[tuple[Member, str]]]:
        """Why a newcomer is kept out, empty if it is not; and the members that go for it, and why."""
        me = member.incarnation
        works = {peer.incarnation: trial.works(me, peer.incarnation, now) for _, peer in trial.pairs}
        good = frozenset(peer.host for _, peer in trial.pairs if works[peer.incarnation])
        bad = [peer for _, peer in trial.pairs if works[peer.incarnation] is False]
        yielding = []
        for peer in bad:
            them = peer.incarnation
            if them != self.known.me and them not in self.membership:
                continue
            others = frozenset(other.host for other in bad if other is not peer)
            new = End(member, good, others, self._is_only(member), trial.reaches(them, me, now))
            partners = self._partners(peer, me)
            there = End(peer, partners, frozenset(), self._is_only(peer), trial.reaches(me, them, now))
            text = sentence(new, there, self.known.name_of)
            if newcomer_goes(new, there):
                return text, []
            yielding.append((peer, text))
        return "", yielding

    def _partners(self, member: Member, but: bytes) -> frozenset[str]:
        """Hosts of members with which a member has a link: they were tried, and none has complained."""
        broken = {inc for pair in self._links if member.incarnation in pair for inc in pair} | {but}
        return frozenset(
            other.host
            for other in self._everybody()
            if other.incarnation not in broken and other is not member and linked(member, other)
        )

    def _is_only(self, member: Member) -> bool:
        """Whether no other member is in the place of this one."""
        place = (member.role, member.pipeline, member.stage)
        return not any(
            (other.role, other.pipeline, other.stage) == place and other.incarnation != member.incarnation
            for other in self._everybody()
        )

    def _keep_out(self, new: _Newcomer, text: str, now: float) -> None:
        member = new.hello.member
        if new.since is None:
            new.since = now
        seconds = now - new.since
        proved = not new.apart and _place(new.hello.node, member) in self._proved
        if seconds >= GIVE_UP * self.membership.lease and not proved:
            self._give_up(member, f"{text} (tried for {seconds:.0f} s, and given up)", now)
            return
        self.effects.append(Control(from_broker.NotAdmitted(reason=text), member.incarnation))
        self.known.problems.kept_out(member, text, now + GONE_AFTER)
        if text != new.told:
            self.effects.append(LogLine("WARNING", self.known.name_of(member), b"", text))
            self.news = True
        new.told = text

    def _give_up(self, member: Member, text: str, now: float) -> None:
        """Refuse a newcomer for good: its process ends, and is not started again."""
        self._forget(member.incarnation)
        self.effects.append(Control(from_broker.Refused(reason=text, final=True), member.incarnation))
        self.effects.append(LogLine("ERROR", self.known.name_of(member), b"", text))
        self.known.refused_for_good(member.pipeline, member.stage, text, now)
        self.news = True

    def _prove(self, hello: to_broker.Hello, trial: Trial, now: float) -> None:
        """Note who has been reached, when a newcomer joins after its trial."""
        me = hello.member
        for _, peer in trial.pairs:
            if not trial.works(me.incarnation, peer.incarnation, now):
                continue
            for node, member in ((hello.node, me), (self.membership.node_of(peer.incarnation), peer)):
                if node:
                    self._proved.pop(_place(node, member), None)
                    self._proved[_place(node, member)] = None
        while len(self._proved) > PROVED:
            del self._proved[next(iter(self._proved))]

    # -- broken links -------------------------------------------------------------------------
    def suspect(self, one: bytes, other: bytes, now: float) -> None:
        """A link is reported broken: try it, and other links of its ends."""
        pair = frozenset((one, other))
        if pair in self._links or sum(not trial.over(now) for trial in self._links.values()) >= LINKS:
            return
        ends = [member for member in self._everybody() if member.incarnation in pair]
        if len(ends) != 2:
            return
        pairs = [(ends[0], ends[1])]
        for end in ends:
            pairs += [(end, witness) for witness in self.membership.places.choose(end, WITNESSES, pair)]
        self._links[pair] = self._begin(pairs, now)

    def tried(self, one: bytes, other: bytes, since: float, now: float) -> bool:
        """Whether a link that was reported broken has been tried. If it has not, that may begin now.

        A trial that has not found it broken is repeated after :data:`REPEAT` seconds.

        Args:
            one: an end of the link.
            other: its other end.
            since: when that was first reported. A trial that was over before does not count.
            now: the time.
        """
        pair = frozenset((one, other))
        trial = self._links.get(pair)
        if trial is not None and trial.over(now):
            found = trial.works(one, other, now) is False
            if trial.ended < since or (not found and now >= trial.ended + REPEAT):
                del self._links[pair], self._trials[trial.number]
                trial = None
        if trial is None:
            self.suspect(one, other, now)
        return trial is not None and trial.over(now)

    def verdict(self, who: bytes, about: bytes, now: float) -> tuple[Member, str] | None:
        """Which end of a broken link goes, and why. None if its trial has not found it broken."""
        trial = self._links.get(frozenset((who, about)))
        if trial is None or trial.works(who, about, now) is not False:
            return None
        order = {member.incarnation: at for at, member in enumerate(self._everybody())}
        if who not in order or about not in order:
            return None
        later, earlier = sorted((who, about), key=lambda end: -order[end])
        return self._goes(trial, later, earlier, now)

    def unclear(self, who: bytes, about: bytes, now: float) -> tuple[Member, str] | None:
        """Which end goes of a link that its trial has not found broken, if the complaint lasts too long, and
        the complaint, for people. If nothing else tells, it is the accused end.

        None if an end has left, or has not said hello to this broker.
        """
        trial = self._links.get(frozenset((who, about)))
        here = {member.incarnation for member in self._everybody()}
        if trial is None or trial.works(who, about, now) is False or not {who, about} <= here:
            return None
        return self._goes(trial, about, who, now)

    def _goes(self, trial: Trial, one: bytes, other: bytes, now: float) -> tuple[Member, str]:
        """Which of two members goes, and why. If nothing else tells, it is the first."""
        members = {member.incarnation: member for pair in trial.pairs for member in pair}
        ends = [
            self._end(trial, members[one], members[other], now),
            self._end(trial, members[other], members[one], now),
        ]
        return goes(ends[0], ends[1]).member, sentence(ends[0], ends[1], self.known.name_of)

    def _end(self, trial: Trial, member: Member, other: Member, now: float) -> End:
        me = member.incarnation
        seen: dict[bool | None, set[str]] = {True: set(), False: set(), None: set()}
        for pair in trial.pairs:
            if member in pair and other not in pair:
                (peer,) = [end for end in pair if end is not member]
                seen[trial.works(me, peer.incarnation, now)].add(peer.host)
        near = {m.host for m in self._everybody() if m.host == member.host and linked(m, member)}
        reached = trial.reaches(other.incarnation, me, now)
        good, bad = frozenset(seen[True] | near), frozenset(seen[False])
        return End(member, good, bad, self._is_only(member), reached)

    # -- time ---------------------------------------------------------------------------------
    def tick(self, now: float) -> None:
        """Ask again for pings that have not come; forget what is old."""
        for trial in self._trials.values():
            self._ask(trial, now)
        for pair, trial in list(self._links.items()):
            if now >= trial.until + KEPT:
                del self._links[pair], self._trials[trial.number]

    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        if not self._trials and not self._newcomers:
            return None
        times = [trial.deadline() for trial in self._trials.values()]
        times += [new.due for new in self._newcomers.values() if new.trial is None]
        return min((at for at in times if at is not None), default=None)


def _place(node: bytes, member: Member) -> tuple[bytes, str, int]:
    return node, member.pipeline, member.stage
