"""All links of one receiver: who may send to it, what has come, what it owes a word on."""

from __future__ import annotations

from zturbo.core.effects import Control, Effect, Send
from zturbo.core.links.credit import WINDOW_BYTES
from zturbo.core.links.receiver import LinkReceiver, ReceiverState
from zturbo.wire.control import to_broker
from zturbo.wire.control.view import View
from zturbo.wire.messages import Batch, Greet, Probe

__all__ = ["Receivers"]

REPEAT = 0.25
"""Seconds between two statements while something is given back and not taken."""

FETCH_AFTER = 0.2
"""Seconds between two requests for a newer view."""


class Receivers:
    """The receiving side of a worker or a sink.

    Args:
        me: this process's incarnation.
        effects: where what is to be done is appended.
    """

    def __init__(self, me: bytes, effects: list[Effect]) -> None:
        self.me = me
        self.effects = effects
        self.view = View(0, {})
        self.links: dict[bytes, LinkReceiver] = {}
        self.strays = 0
        """Messages that were addressed to another incarnation or came from nobody in the view."""
        self.busy = False
        """Whether what comes now is given back."""
        self._fetched = float("-inf")

    def set_view(self, view: View) -> list[bytes]:
        """A newer view. Returns the senders that are gone."""
        self.view = view
        gone = [peer for peer in self.links if peer not in view.members]
        for peer in gone:
            del self.links[peer]
        return gone

    def adopt(self, peer: bytes, received: int) -> LinkReceiver:
        """A sender that comes new to this link: its first batches are here already."""
        link = self.links[peer] = LinkReceiver(self.me, peer)
        link.received = received
        return link

    def unreadable(self, claim: Batch, why: str, *, ended: bool, now: float) -> None:
        """A batch cannot be read. If it is asked for again in vain, its job ends by that: it cannot be whole.

        Args:
            claim: the batch without what it carries.
            why: what is wrong with it.
            ended: whether its job has ended: then nobody misses it.
            now: the time.
        """
        link = self.links.get(claim.source)
        if link is None or claim.target != self.me:
            self.strays += 1
            return
        if ended:
            link.skip(claim.number, now)
            return
        link.refuse(claim, ReceiverState.UNREADABLE, now)
        if link.hopeless(claim, now):
            error = f"a batch of its tasks cannot be read where it is to go: {why}"
            message = to_broker.JobFailed(
                incarnation=self.me, job=claim.job, epoch=claim.epoch, kind="JobFailed", error=error
            )
            self.effects.append(Control(message))

    def greet(self, greet: Greet, now: float) -> LinkReceiver | None:
        """A sender asks for a link; None if it may not have one (yet)."""
        if greet.target != self.me:
            self.strays += 1
            return None
        if greet.source not in self.view.members:
            if greet.view > self.view.number and now >= self._fetched + FETCH_AFTER:
                self._fetched = now
                self.effects.append(Control(to_broker.GetView()))
            self.strays += 1
            return None
        link = self.links.get(greet.source)
        if link is None:
            link = self.links[greet.source] = LinkReceiver(self.me, greet.source)
        link.urge(now)
        return link

    def probe(self, probe: Probe, now: float) -> list[tuple[int, int]]:
        """A sender asks what has arrived. Returns what it has taken back: (batch, index)."""
        link = self.links.get(probe.source)
        if link is None or probe.target != self.me:
            self.strays += 1
            return []
        return link.probe(probe.nonce, probe.taken_back, now)

    def batch(self, batch: Batch, now: float) -> LinkReceiver | None:
        """The link that takes the batch; None where it is dropped."""
        link = self.links.get(batch.source)
        if link is None or batch.target != self.me:
            self.strays += 1
            return None
        if link.batch(batch, now):
            return link
        if link.state is ReceiverState.BEYOND and link.hopeless(batch, now):
            self.effects.append(Control(to_broker.Broken(incarnation=self.me, peer=batch.source)))
        return None

    def waited_for(self) -> list[tuple[bytes, int, int]]:
        """(job, epoch, 0) of jobs of which a batch cannot be read: that they have ended may have got lost."""
        return [(*job, 0) for link in self.links.values() if (job := link.waits_for) is not None]

    def ack(self, peer: bytes, number: int, now: float) -> None:
        """Everything that came of this batch is safe."""
        link = self.links.get(peer)
        if link is not None:
            link.ack(number, now)

    def leave(self, peer: bytes, tasks: int, nbytes: int) -> None:
        """So much of this sender's has left the queue."""
        link = self.links.get(peer)
        if link is not None:
            link.window.leave(tasks, nbytes)

    def grant(self, tasks: int, now: float) -> None:
        """Give all senders their share of a window of this many tasks: each at least one."""
        if not self.links:
            return
        share = max(1, tasks // len(self.links))
        nbytes = max(1, WINDOW_BYTES // len(self.links))
        for link in self.links.values():
            if link.window.grant(share, nbytes):
                link.urge(now)

    def turn(self, busy: bool, now: float) -> None:
        """From now on, what comes is given back, or no longer: all senders are told."""
        if busy != self.busy:
            self.busy = busy
            for link in self.links.values():
                link.urge(now)

    def flush(self, now: float) -> None:
        """Say what is due."""
        for peer, link in self.links.items():
            if link.due is not None and link.due <= now:
                self.effects.append(Send(peer, link.statement(self.busy)))
                if link.returned:
                    link.urge(now + REPEAT)

    def deadline(self) -> float | None:
        """When a statement is due."""
        return min((link.due for link in self.links.values() if link.due is not None), default=None)

    def check(self) -> None:
        """Assert every invariant."""
        for link in self.links.values():
            link.check()
