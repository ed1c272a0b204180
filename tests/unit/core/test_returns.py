"""Tasks behind a long one are given back, and their sender does not send them there again."""

from __future__ import annotations

from zturbo.core.effects import Effect, Run, Send
from zturbo.core.links.custody import Custody
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.links.senders import Senders
from zturbo.core.worker.machine import Produced, WorkerMachine
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
        self.worker.meter.add(100, 0.001)
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


def test_what_is_given_back_waits_for_another_or_for_the_end_of_the_long_task() -> None:
    pair = Pair()
    for number in range(4):
        pair.put(number, 0.001)
    assert len(pair.runs) == 2, "one runs, one is at hand, two are queued"
    for now in (1.0, 1.01, 1.02):
        pair.worker.tick(now)
        pair.senders.tick(now)
        pair.carry(now)
    assert pair.said[-1].busy and not pair.said[-1].returns
    assert pair.senders.pending_tasks == pair.senders.returned == 2, (
        "not sent there again, for all its credit"
    )
    assert pair.senders.links[BUSY].limit_tasks > pair.senders.links[BUSY].tasks_sent

    first = pair.runs[0].work
    pair.worker.produced(Produced(JOB, 1, [(first.origin, 1)], None, 1, 1.0, (first,)), 1.03)
    pair.carry(1.03)
    assert not pair.said[-1].busy
    assert pair.senders.pending_tasks == 0


def test_the_word_of_new_credit_got_lost_while_nothing_was_on_the_way() -> None:
    pair = Pair()
    dest = ("p", 1)
    link = pair.senders.links[BUSY]
    link.limit_tasks = link.tasks_sent  # the word that raised it did not come
    assert pair.senders.credit(dest, 100.0) == 0, "somebody has roots, and keeps them until there is credit"
    at = link.deadline()
    assert at is not None and 100.0 < at < 101.0
    assert link.silent(100.5) == 0.5, "and nobody is blamed for the time before"
    pair.senders.tick(at)
    pair.carry(at)
    assert pair.senders.credit(dest, at) > 0 and not link.starved
