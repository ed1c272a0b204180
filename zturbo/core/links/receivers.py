"""All links of one receiver: which senders it has, what has come, and which statements it owes."""

from __future__ import annotations

from collections.abc import Callable

from zturbo.core.effects import Control, Effect, Send
from zturbo.core.links.credit import WINDOW_BYTES
from zturbo.core.links.receiver import LinkReceiver, ReceiverState
from zturbo.wire.codec import BadBatch
from zturbo.wire.control import to_broker
from zturbo.wire.control.view import View
from zturbo.wire.messages import Batch, Greet, Probe

__all__ = ["UNUSED_BYTES", "Receivers"]

REPEAT = 0.25
"""Seconds between two statements, until the sender confirms a return."""

FETCH_AFTER = 0.2
"""Seconds between two requests for a newer view."""

UNUSED_BYTES = WINDOW_BYTES // 8
"""Bytes that all senders together may send that have sent nothing yet, beside one message each."""


class Receivers:
    """The receiving side of a worker or a sink.

    Args:
        me: this process's incarnation.
        effects: list to which it appends its effects.
    """

    def __init__(self, me: bytes, effects: list[Effect]) -> None:
        self.me = me
        self.effects = effects
        self.view = View(0, {})
        self.links: dict[bytes, LinkReceiver] = {}
        self.strays = 0
        """Messages for another incarnation, or from a process outside the view."""
        self.busy = False
        """Whether tasks that come now are given back."""
        self.free = False
        """Whether a task that comes now is begun at once."""
        self._fetched = float("-inf")
        self._granted = (0, 0, 0)
        """Tasks that each sender was last given, how many had sent contents, and the bytes of the others."""
        self._used: set[bytes] = set()
        """Senders that have sent contents."""

    def set_view(self, view: View) -> list[bytes]:
        """Take a newer view. Returns the senders that are gone."""
        self.view = view
        gone = [peer for peer in self.links if peer not in view.members]
        for peer in gone:
            del self.links[peer]
            self._used.discard(peer)
        if gone:
            for link in self.links.values():
                link.window.changed = True  # each one's share is larger
        return gone

    def adopt(self, peer: bytes, received: int) -> LinkReceiver:
        """Begin a link of a new sender as if its first ``received`` batches had come over it already."""
        link = self.links[peer] = LinkReceiver(self.me, peer)
        link.received = received
        if received:
            self._used.add(peer)
        return link

    def unreadable(
        self, bad: BadBatch, is_over: Callable[[bytes, int], bool], now: float
    ) -> LinkReceiver | None:
        """Take note of a batch that cannot be read; its sender sends it again.

        If it still cannot be read after a while, the broker is told to end the job, which lacks these tasks.

        Args:
            bad: the batch.
            is_over: whether tasks of a job and an epoch are not needed any more. If that is so for all parts
                that cannot be read, the batch is skipped.
            now: the time.

        Returns:
            The link that takes the parts that can be read, if the batch is skipped.
        """
        claim = next((one for one in bad.claims if not is_over(one.job, one.epoch)), None)
        head = bad.claims[0]
        link = self.links.get(head.source)
        if link is None or head.target != self.me:
            self.strays += 1
            return None
        if claim is None:
            return link if link.skip(bad.claims, bad.riders, now) else None
        link.refuse(claim, ReceiverState.UNREADABLE, now)
        if link.hopeless(claim, now):
            error = f"a batch of its tasks cannot be read where it is to go: {bad}"
            message = to_broker.JobFailed(
                incarnation=self.me, job=claim.job, epoch=claim.epoch, kind="JobFailed", error=error
            )
            self.effects.append(Control(message))
        return None

    def greet(self, greet: Greet, now: float) -> LinkReceiver | None:
        """Begin the link that a sender asks for; None if the sender is not in the view (yet)."""
        if greet.target != self.me:
            self.strays += 1
            return None
        if greet.source not in self.view.members:
            if greet.view > self.view.number and now >= self._fetched + FETCH_AFTER:
                self._fetched = now
                self.effects.append(Control(to_broker.GetView(view=self.view.number)))
            self.strays += 1
            return None
        link = self.links.get(greet.source)
        if link is None:
            link = self.links[greet.source] = LinkReceiver(self.me, greet.source)
        link.urge(now)
        return link

    def probe(self, probe: Probe, now: float) -> list[tuple[int, int]]:
        """Take a sender's probe, and return the (batch, part) of each return that it confirms."""
        link = self.links.get(probe.source)
        if link is None or probe.target != self.me:
            self.strays += 1
            return []
        return link.probe(probe.nonce, probe.taken_back, now)

    def batch(self, batch: Batch, now: float) -> LinkReceiver | None:
        """Return the link that takes the batch, or None if the batch is dropped."""
        link = self.links.get(batch.source)
        if link is None or batch.target != self.me:
            self.strays += 1
            return None
        if link.batch(batch, now):
            if batch.n and batch.source not in self._used:
                self._used.add(batch.source)
                link.window.changed = True  # its share is larger
            return link
        if link.state is ReceiverState.BEYOND and link.hopeless(batch, now):
            self.effects.append(Control(to_broker.Broken(incarnation=self.me, peer=batch.source)))
        return None

    def waited_for(self) -> list[tuple[bytes, int, int]]:
        """Jobs with a batch that cannot be taken, as (job, epoch, revision 0).

        They may have ended, and the broker's word of that may be lost.
        """
        return [(*job, 0) for link in self.links.values() if (job := link.waits_for) is not None]

    def ack(self, key: tuple[bytes, int, int], now: float) -> None:
        """Ack this (sender, batch, part): everything that came of it is safe."""
        peer, number, sub = key
        link = self.links.get(peer)
        if link is not None:
            link.ack(number, now, sub)

    def leave(self, peer: bytes, tasks: int, nbytes: int) -> None:
        """Count tasks and bytes of this sender that have left the queue."""
        link = self.links.get(peer)
        if link is not None:
            link.window.leave(tasks, nbytes)

    @property
    def ungranted(self) -> bool:
        """Whether something has left a queue, or links have come or gone, since credit was last given."""
        for link in self.links.values():
            if link.window.changed:
                return True
        return False

    def grant(self, tasks: int, now: float, *, each: bool = False) -> None:
        """Raise each sender's limits to its share of a window of this many tasks: at least one.

        Senders that have sent no contents yet share at most :data:`UNUSED_BYTES` of the window's bytes, the
        others the rest.

        Args:
            tasks: of the window.
            now: the time.
            each: each task that leaves makes room for one that is begun at once, so its sender is told.
        """
        if not self.links:
            return
        used = len(self._used)
        share = max(1, tasks // len(self.links))
        nbytes = max(1, (WINDOW_BYTES - UNUSED_BYTES) // max(1, used))
        unused = max(1, UNUSED_BYTES // len(self.links))
        other = (share, used, unused) != self._granted
        self._granted = (share, used, unused)
        for peer, link in self.links.items():
            if (other or link.window.changed) and link.window.grant(
                share, nbytes if peer in self._used else unused, each=each
            ):
                link.urge(now)

    def turn(self, busy: bool, now: float) -> None:
        """Tell all senders whether tasks that come from now on are given back."""
        if busy != self.busy:
            self.busy = busy
            for link in self.links.values():
                link.urge(now)

    def flush(self, now: float) -> None:
        """Send the statements that are due."""
        for peer, link in self.links.items():
            if link.due is not None and link.due <= now:
                self.effects.append(Send(peer, link.statement(self.busy, self.free)))
                if link.returned:
                    link.urge(now + REPEAT)

    def deadline(self) -> float | None:
        """When the next statement is due."""
        first: float | None = None
        for link in self.links.values():
            due = link.due
            if due is not None and (first is None or due < first):
                first = due
        return first

    def check(self) -> None:
        """Assert every invariant."""
        for link in self.links.values():
            link.check()
