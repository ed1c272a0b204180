"""A sender and a worker that say everything to each other in memory."""

from __future__ import annotations

from zturbo.core.effects import Effect, Run, Send
from zturbo.core.links.custody import Custody
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.links.senders import Senders
from zturbo.core.worker.machine import WorkerMachine
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import Batch, Stamp, Statement

JOB, SENDER, BUSY, OTHER, SINK = (name * 16 for name in (b"j", b"s", b"b", b"o", b"k"))
VIEW = View(
    1,
    {
        SENDER: Member(SENDER, "worker", "p", 0, "host", ("x",)),
        BUSY: Member(BUSY, "worker", "p", 1, "host", ("x",)),
        OTHER: Member(OTHER, "worker", "p", 1, "host", ("x",)),
    },
)


STAMP = Stamp(JOB, 1, "p", {}, SINK)


class Pair:
    """A sender, and one of its two receivers, with fast tasks so far, and so with much credit."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.senders = Senders(SENDER, "host", Custody(), self.effects)
        self.worker = WorkerMachine(BUSY, pipeline="p", stage=1, stages=2, ordered=False)
        self.worker.feed.meter.add(100, 0.2)
        self.said: list[Statement] = []
        self.runs: list[Run] = []
        self.worker.view(VIEW, 0.0)
        self.senders.set_view(VIEW, [VIEW.members[BUSY], VIEW.members[OTHER]], 0.0)
        self.senders.stamp(STAMP)
        self.carry(0.0)

    def put(self, number: int, now: float) -> None:
        batch = Batch(JOB, 1, 1, [((number,), 1)], 1, b"\x01")
        self.senders.put(OutBatch.of(batch, ("p", 1)))
        self.senders.pump(now)
        self.carry(now)

    def carry(self, now: float) -> None:
        """What they say to each other, until nothing is left to say at this time."""
        for _ in range(100):
            sends = [effect for effect in self.effects if isinstance(effect, Send) and effect.peer == BUSY]
            self.effects.clear()
            for effect in sends:
                self.worker.data(effect.message, now)
            self.runs += [effect for effect in self.worker.effects if isinstance(effect, Run)]
            said = [
                effect.message
                for effect in self.worker.effects
                if isinstance(effect, Send) and isinstance(effect.message, Statement)
            ]
            self.worker.effects.clear()
            self.said += said
            for statement in said:
                self.senders.statement(statement, now)
                self.senders.pump(now)
            if not sends and not said:
                return
        raise AssertionError("they do not stop talking")
