"""Batches that come to a worker over links, for tests of the worker's parts."""

from __future__ import annotations

from zturbo.core.effects import Effect, Send
from zturbo.core.worker.arrivals import Arrivals
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import Batch, Greet, Statement

__all__ = ["BROKER", "JOB", "ME", "OTHER", "SENDER", "Inputs", "a_batch"]

ME, JOB, SENDER, OTHER, BROKER = (name * 16 for name in (b"m", b"j", b"s", b"o", b"b"))

VIEW = View(
    1,
    {
        name: Member(name, "broker" if name == BROKER else "worker", "p", 0, "h", ("x",))
        for name in (ME, SENDER, OTHER, BROKER)
    },
)


def a_batch(number: int, n: int = 1, *, source: bytes = SENDER, job: bytes = JOB, first: int = 0) -> Batch:
    """Tasks ``first .. first + n``, one byte each."""
    return Batch(job, 1, 0, [((first,), n)], n, bytes(n), number=number, source=source, target=ME)


class Inputs:
    """Arrivals of a worker that gives much credit, and what its senders hear."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.arrivals = Arrivals(ME, self.effects)
        self.arrivals.receivers.set_view(VIEW)
        for peer in (SENDER, OTHER, BROKER):
            self.greet(peer)

    def greet(self, peer: bytes) -> None:
        self.arrivals.receivers.greet(Greet(peer, ME, 1), 0.0)
        self.arrivals.receivers.grant(1000, 0.0)

    def come(self, *batches: Batch) -> None:
        """These are taken into custody."""
        for batch in batches:
            assert self.arrivals.receivers.batch(batch, 0.0) is not None
            self.arrivals.admit(batch, root=batch.source == BROKER)

    def said(self, peer: bytes = SENDER) -> Statement:
        """What this sender is told now."""
        self.arrivals.receivers.links[peer].urge(0.0)
        self.arrivals.receivers.flush(0.0)
        sends = [effect for effect in self.effects if isinstance(effect, Send) and effect.peer == peer]
        self.effects.clear()
        statement = sends[-1].message
        assert isinstance(statement, Statement)
        return statement
