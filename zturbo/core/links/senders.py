"""All links of one sender: which peer gets which outbatch, and what becomes of a lost peer's outbatches.

An outbatch goes to one incarnation (the worker of an ordered stage, or the sink) or to any worker of a group:
all of a stage, or those that have the job's code. In the second case a near peer comes first, and among these
the link with the most credit. Outbatches wait here for credit. Jobs take turns, and a job's outbatches keep
their order.

A worker has links to a few workers of a large stage (``choice.py``), and to one particular peer among many
from the first outbatch for it on. A link lives until its peer leaves the view, also if it is not used any
more: its numbers go on. What it costs meanwhile is memory, and no socket (``runtime/net/peers.py``).

When a peer is gone from the view, the outbatches that it had not acked go to other workers of its stage. An
outbatch for this peer alone waits for the broker's word: a stamp with the sink's next incarnation, or a
higher epoch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from zturbo.core.effects import Control, Effect
from zturbo.core.links.choices import Choices
from zturbo.core.links.custody import Custody
from zturbo.core.links.outbatch import Destination, OutBatch, split
from zturbo.core.links.round_robin import RoundRobin
from zturbo.core.links.sender import LinkSender
from zturbo.wire.control import to_broker
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import MAX_RIDERS, Stamp, Statement

__all__ = [
    "MAX_PENDING_BYTES",
    "MAX_PENDING_TASKS",
    "MAX_RETAINED_BYTES",
    "MAX_RETAINED_TASKS",
    "MESSAGE_BYTES",
    "Senders",
]

MAX_PENDING_TASKS = 8192
"""Tasks that may wait for credit before the producer is paused."""
MAX_PENDING_BYTES = 8 << 20
MAX_RETAINED_TASKS = 1 << 16
"""Tasks that may be un-acked before the producer is paused: in a deep pipeline acks take long."""
MAX_RETAINED_BYTES = 256 << 20
"""Some forty frames of 1080p: a pipeline of some stages has as many on their way, or waiting for acks."""
RIDER_BYTES = 4 << 10
"""Bytes of an outbatch that shares a message with others, at most."""
MESSAGE_BYTES = 64 << 10
"""Bytes of the riders in one message, about."""
COMPLAIN_AFTER = 2.0
"""Seconds for which a peer owes an answer before the broker is told that the link is broken."""
COMPLAIN_EVERY = 1.0


class Senders:
    """The sending side of a worker or of the broker.

    Args:
        me: this process's incarnation.
        host: its host; peers with the same one are near.
        custody: counts the outbatches that came of each input.
        effects: list to which it appends its effects.
        fanout: workers of one stage to which it has links; None for all of them.
        bounded: whether it has links to these alone, and to no others while tasks wait.
    """

    def __init__(
        self,
        me: bytes,
        host: str,
        custody: Custody[Any],
        effects: list[Effect],
        fanout: int | None = None,
        *,
        bounded: bool = False,
    ) -> None:
        self.me = me
        self.host = host
        self.custody = custody
        self.effects = effects
        self.view = 0
        self.links: dict[bytes, LinkSender] = {}
        self._owing: set[bytes] = set()
        """Peers that owe an answer, and some that do no more: to look at all links for it costs too much."""
        self.near: set[bytes] = set()
        self.groups: dict[Destination, list[bytes]] = {}
        """Destination -> the incarnations that may get what goes there."""
        self.choices = Choices(me, host, fanout, bounded=bounded)
        self.pending: dict[Destination, RoundRobin[OutBatch]] = {}
        self.pending_tasks = 0
        self.pending_bytes = 0
        self._waiting: dict[Destination, int] = {}
        """Destination -> tasks among ``pending_tasks`` that go there."""
        self.retained_tasks = 0
        """Tasks that were sent and are not acked."""
        self.retained_bytes = 0
        self.stamps: dict[bytes, Stamp] = {}
        """Job -> its stamp, which the job's next batch on each link carries."""
        self.redelivered = 0
        """Tasks that go again because their receiver was lost."""
        self.returned = 0
        """Tasks that go again because their receiver gave them back."""
        self.orphans: list[OutBatch] = []
        """Hollow outbatches that have to go again: the owner has their contents."""
        self._complain_at = -math.inf

    # -- membership ---------------------------------------------------------------------------
    def set_view(
        self, view: View, peers: Iterable[Member], now: float, fellows: Collection[Member] = ()
    ) -> None:
        """Have links to these members of the view, and to no other member.

        Args:
            view: the view.
            peers: those that may get something.
            now: the time.
            fellows: all members that send to the same peers, with this process: the workers of a large stage
                are divided among them.
        """
        self.view = view.number
        wanted = {member.incarnation: member for member in peers}
        self.groups, at_once, gone = self.choices.set_view(wanted.values(), fellows)
        for incarnation in gone:
            self._let_go(incarnation)
        for incarnation in at_once:
            self._link(incarnation, now)
        self.near = {inc for inc, member in wanted.items() if member.host == self.host}
        for incarnation in [inc for inc in self.links if inc not in wanted]:
            self._redeliver(self.links.pop(incarnation))
        for link in self.links.values():
            link.view = view.number
        self.pump(now)

    def _link(self, incarnation: bytes, now: float) -> LinkSender:
        """The link to a peer, which is begun if need be."""
        link = self.links.get(incarnation)
        if link is None:
            link = self.links[incarnation] = LinkSender(
                self.me, incarnation, self.effects, now, self.view, self._owing
            )
        return link

    def _redeliver(self, link: LinkSender) -> None:
        for outbatch in reversed(link.abandon()):
            self.retained_tasks -= outbatch.size
            self.retained_bytes -= outbatch.nbytes
            if not self._current(outbatch):
                self.custody.release(outbatch.origins)
                continue
            self._again(outbatch)
            self.redelivered += outbatch.size

    def _again(self, outbatch: OutBatch) -> None:
        """Put an outbatch before the others of its job, for the receiver that the stamp has now."""
        if not outbatch.size:
            self.custody.release(outbatch.origins)
            return
        if outbatch.hollow:
            self.orphans.append(outbatch)
            return
        outbatch.batch.stamp = None
        if isinstance(outbatch.dest, bytes):
            outbatch.dest = _alone(outbatch, self.stamps[outbatch.batch.job])
        self._wait(outbatch, first=True)

    # -- outbatches ------------------------------------------------------------------------------
    def _wait(self, outbatch: OutBatch, *, first: bool = False) -> None:
        queue = self.pending.get(outbatch.dest)
        if queue is None:
            queue = self.pending[outbatch.dest] = RoundRobin()
        if first:
            queue.appendleft(outbatch.batch.job, outbatch)
        else:
            queue.append(outbatch.batch.job, outbatch)
        self._count(outbatch, 1)

    def _count(self, outbatch: OutBatch, sign: int) -> None:
        """It waits from now on, or no more."""
        self.pending_tasks += sign * outbatch.size
        self.pending_bytes += sign * outbatch.nbytes
        self._waiting[outbatch.dest] = self._waiting.get(outbatch.dest, 0) + sign * outbatch.size

    def put(self, outbatch: OutBatch) -> None:
        """Queue an outbatch, and count it at its origins. :meth:`pump` sends it."""
        self.custody.hold(outbatch.origins)
        self._wait(outbatch)

    def _take(self, queue: RoundRobin[OutBatch]) -> OutBatch:
        outbatch = queue.popleft()
        self._count(outbatch, -1)
        return outbatch

    def pump(self, now: float) -> None:
        """Send as many outbatches as credit allows. Small ones that follow one another share a message."""
        for dest, queue in self.pending.items():
            choice = self.choices.of.get(dest)
            share = len(queue) // max(1, len(self.groups.get(dest, ())))
            while queue:
                link = self._pick(dest, now)
                if link is None:
                    break
                credit = link.credit
                outbatch = queue.first()
                if outbatch.size > credit:
                    halves = split(outbatch, credit)
                    if halves is None:
                        link.starve(now)
                        break
                    self.custody.hold(outbatch.origins)
                    self._take(queue)
                    self._wait(halves[1], first=True)
                    outbatch = halves[0]
                else:
                    self._take(queue)
                riders = self._riders(outbatch, queue, credit - outbatch.size, share) if queue else ()
                self._send(link, outbatch, riders, now)
                if choice is not None:
                    choice.sent(now)
        if self.choices.of:
            self._try_others(now)
        if self.pending_tasks == 0 and self.pending:
            self.pending = {dest: queue for dest, queue in self.pending.items() if queue}
            self._waiting.clear()

    def _try_others(self, now: float) -> None:
        """Where tasks wait, ask one more worker for a link, if that is due."""
        for dest, choice in self.choices.of.items():
            if self.pending.get(dest):
                choice.waits(now)
            else:
                choice.rests()
            before = choice.tried
            peer = choice.next(now)
            if peer is not None:
                known = peer in self.links
                link = self._link(peer, now)
                if known and link.open:
                    link.probe(now)
                link.starve(now)
            if before is not None and before != choice.tried:
                self._let_go(before)
            for peer in choice.drop(now):
                self._let_go(peer)
            self.groups[dest] = choice.used

    def _let_go(self, peer: bytes) -> None:
        """A link gets no more tasks, so it needs no credit. What was sent over it is settled as ever."""
        if peer in self.links:
            self.links[peer].starved = False

    def _pick(self, dest: Destination, now: float) -> LinkSender | None:
        best: LinkSender | None = None
        best_rank = (False, 0)
        for incarnation in self.groups.get(dest, ()):
            link = self._link(incarnation, now)
            rank = (incarnation in self.near, link.credit)
            if rank[1] <= 0:
                link.starve(now)
            elif best is None or rank > best_rank:
                best, best_rank = link, rank
        return best

    def credit(self, dest: Destination, now: float) -> int:
        """Tasks that could be sent there beside those that wait. Where there is no credit, ask for some.

        None while more bytes wait than a message has: the credit in bytes counts only what was sent.
        """
        waiting = self._waiting.get(dest, 0)
        if waiting and self.pending_bytes > MESSAGE_BYTES:
            return 0
        links = [self._link(inc, now) for inc in self.groups.get(dest, ())]
        credit = sum(max(0, link.credit) for link in links)
        if not credit:
            for link in links:
                link.starve(now)
        return max(0, credit - waiting)

    def waiting(self, job: bytes) -> int:
        """Tasks of a job that wait for credit."""
        return sum(outbatch.batch.n for queue in self.pending.values() for outbatch in queue.of(job))

    def _riders(
        self, outbatch: OutBatch, queue: RoundRobin[OutBatch], credit: int, share: int
    ) -> list[OutBatch]:
        """Take the outbatches that travel with this one.

        Args:
            outbatch: the first of the message.
            queue: what follows it.
            credit: tasks that they may have.
            share: how many outbatches a peer gets at a time, so that the next peer gets as many.
        """
        riders: list[OutBatch] = []
        if outbatch.batch.buffers or outbatch.nbytes > RIDER_BYTES:
            return riders
        room = MESSAGE_BYTES
        most = min(share - 1, MAX_RIDERS)
        while queue and len(riders) < most:
            rider = queue.first()
            credit -= rider.size
            room -= rider.nbytes
            if credit < 0 or room < 0 or rider.nbytes > RIDER_BYTES or rider.batch.buffers:
                break
            riders.append(self._take(queue))
        return riders

    def _send(self, link: LinkSender, outbatch: OutBatch, riders: Sequence[OutBatch], now: float) -> None:
        for part in (outbatch, *riders):
            batch = part.batch
            stamp = self.stamps[batch.job]
            if link.stamped.get(batch.job) != stamp.rank:
                batch.stamp = stamp
                link.stamped[batch.job] = stamp.rank
            self.retained_tasks += part.size
            self.retained_bytes += part.nbytes
        link.send(outbatch, now, riders)

    def statement(self, st: Statement, now: float) -> list[OutBatch]:
        """Take a peer's statement. Returns the outbatches that it acks for the first time."""
        link = self.links.get(st.source)
        if link is None or st.target != self.me:
            return []
        acked = link.statement(st, now)
        for dest, choice in self.choices.of.items():
            if choice.tried == st.source and st.nonce == link.nonce:
                if choice.answered(st.free, now):
                    self.groups[dest] = choice.used
                else:
                    self._let_go(st.source)
        for old, kept, rest in link.given_back:
            self.retained_tasks += kept.size - old.size
            self.retained_bytes += kept.nbytes - old.nbytes
            self.custody.hold(rest.origins)
            if self._current(rest):
                self._again(rest)
                self.returned += rest.size
            else:
                self.custody.release(rest.origins)
        link.given_back.clear()
        for outbatch in acked:
            self.custody.release(outbatch.origins)
            self.retained_tasks -= outbatch.size
            self.retained_bytes -= outbatch.nbytes
        return acked

    def _current(self, outbatch: OutBatch) -> bool:
        stamp = self.stamps.get(outbatch.batch.job)
        return stamp is not None and outbatch.batch.epoch >= stamp.epoch

    # -- jobs ---------------------------------------------------------------------------------
    def stamp(self, stamp: Stamp) -> None:
        """Take a job's stamp.

        A higher epoch drops the outbatches of older ones that wait. A new sink gets the outbatches that wait
        for the sink before it.
        """
        old = self.stamps.get(stamp.job)
        self.stamps[stamp.job] = stamp
        if old is None:
            return
        if old.epoch < stamp.epoch:
            self._drop_pending(stamp.job, stamp.epoch)
        elif old.sink != stamp.sink:
            waiting = self.pending.get(old.sink)
            for outbatch in waiting.take(stamp.job) if waiting else ():
                self._count(outbatch, -1)
                outbatch.dest = _alone(outbatch, stamp)
                self._wait(outbatch)

    def forget(self, job: bytes) -> None:
        """Drop the waiting outbatches of a job that is over."""
        self.stamps.pop(job, None)
        self._drop_pending(job, None)
        for link in self.links.values():
            link.stamped.pop(job, None)

    def _drop_pending(self, job: bytes, below: int | None) -> None:
        for queue in self.pending.values():
            for outbatch in queue.take(job):
                self._count(outbatch, -1)
                if below is None or outbatch.batch.epoch < below:
                    self.custody.release(outbatch.origins)
                else:
                    self._wait(outbatch)

    # -- time and state -----------------------------------------------------------------------
    @property
    def pressed(self) -> bool:
        """Whether the producer is to pause."""
        return (
            self.pending_tasks > MAX_PENDING_TASKS
            or self.pending_bytes > MAX_PENDING_BYTES
            or self.retained_tasks > MAX_RETAINED_TASKS
            or self.retained_bytes > MAX_RETAINED_BYTES
        )

    def deadline(self) -> float | None:
        """When a probe is due, or another peer is to be tried."""
        first = math.inf
        for peer in tuple(self._owing):
            link = self.links.get(peer)
            at = None if link is None else link.deadline()
            if at is None:
                self._owing.discard(peer)
            elif at < first:
                first = at
        for choice in self.choices.of.values():
            first = min(first, choice.deadline())
        return None if first == math.inf else first

    def tick(self, now: float) -> None:
        """Send the probes that are due."""
        for link in self.links.values():
            link.tick(now)

    def adopt(self, peer: bytes, outbatches: list[OutBatch], now: float) -> None:
        """Number outbatches that this receiver has already, from an earlier sender."""
        link = self.links.get(peer)
        if link is not None and not link.sent:
            link.adopt(outbatches, now)
            self.retained_tasks += sum(outbatch.size for outbatch in outbatches)
            self.retained_bytes += sum(outbatch.nbytes for outbatch in outbatches)

    def complaints(self, now: float) -> list[bytes]:
        """Peers that have owed an answer for :data:`COMPLAIN_AFTER` seconds; asked each second."""
        if now < self._complain_at:
            return []
        self._complain_at = now + COMPLAIN_EVERY
        return [peer for peer, link in self.links.items() if link.silent(now) > COMPLAIN_AFTER]

    def complain(self, now: float) -> None:
        """Tell the broker of links on which an answer is owed for too long."""
        for peer in self.complaints(now):
            self.effects.append(Control(to_broker.Broken(incarnation=self.me, peer=peer)))

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is un-acked."""
        return not self.pending_tasks and not any(link.retained for link in self.links.values())

    def check(self) -> None:
        """Assert every invariant."""
        assert (self.pending_tasks, self.pending_bytes) == _size(self.pending.values())
        for dest, queue in self.pending.items():
            assert self._waiting.get(dest, 0) == sum(outbatch.size for outbatch in queue)
        retained: list[OutBatch] = []
        for peer, link in self.links.items():
            assert peer in self._owing or link.deadline() is None, "a probe would never be sent"
            link.check()
            for parts in link.retained.values():
                retained += parts
        assert (self.retained_tasks, self.retained_bytes) == _size([retained])
        for choice in self.choices.of.values():
            choice.check()


def _alone(outbatch: OutBatch, stamp: Stamp) -> Destination:
    """The one member that may have this outbatch."""
    return stamp.ordered.get(outbatch.batch.stage, stamp.sink)


def _size(groups: Iterable[Iterable[OutBatch]]) -> tuple[int, int]:
    """(tasks, bytes) of outbatches."""
    tasks = nbytes = 0
    for outbatches in groups:
        for outbatch in outbatches:
            tasks += outbatch.size
            nbytes += outbatch.nbytes
    return tasks, nbytes
