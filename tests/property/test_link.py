"""A link's two machines, joined by a wire that drops, doubles, delays and resets."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo.core.effects import Effect, Send
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.links.receiver import LinkReceiver
from zturbo.core.links.sender import LinkSender
from zturbo.wire.codec import decode, encode
from zturbo.wire.messages import MAX_INT, Batch, DataMessage, End, Greet, Probe, Statement

A, B = b"a" * 16, b"b" * 16


class Wire:
    """Two FIFO channels that lie as long as :attr:`lying`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lying = True
        self.down: list[list[bytes]] = []
        self.up: list[list[bytes]] = []

    def carry(self, channel: list[list[bytes]], message: DataMessage) -> None:
        roll = self.rng.random() if self.lying else 1.0
        frames = [bytes(frame) for frame in encode(message)]
        if roll < 0.08:
            return
        if roll < 0.12:  # a reset: what is on the way is lost
            channel.clear()
            return
        channel.append(frames)
        if roll < 0.2:
            channel.append(frames)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_everything_arrives_once_in_order_and_all_credit_returns(seed: int) -> None:
    rng = random.Random(seed)
    effects: list[Effect] = []
    now = 0.0
    sender = LinkSender(A, B, effects, now)
    receiver = LinkReceiver(B, A)
    wire = Wire(rng)
    total = rng.randrange(1, 60)
    sent = 0
    arrived: list[int] = []
    queue: list[Batch] = []
    unacked: list[Batch] = []
    acked: list[int] = []
    window = rng.choice([1, 3, 10])
    for step in range(20_000):
        now += rng.random() * 0.05
        wire.lying = step < 1500
        while sent < total and sender.credit >= 1 and rng.random() < 0.7:
            some = range(sent, min(total, sent + min(sender.credit, rng.choice([1, 1, 2, 5]))))
            first, *riders = [OutBatch.of(Batch(b"j" * 16, 1, 0, ends=[End((i,), 0)]), B) for i in some]
            sender.send(first, now, riders)
            sent += len(some)
        if sent < total:
            sender.starve(now)
        sender.tick(now)
        for effect in effects:
            assert isinstance(effect, Send)
            wire.carry(wire.down, effect.message)
        effects.clear()
        if wire.down and rng.random() < 0.8:
            message = decode(wire.down.pop(0))
            if isinstance(message, Batch):
                if receiver.batch(message, now):
                    for part in message.apart():
                        arrived.append(part.ends[0].path[0])
                        queue.append(part)
            elif isinstance(message, Probe):
                receiver.probe(message.nonce, message.taken_back, now)
            elif isinstance(message, Greet):
                receiver.urge(now)
        if queue and rng.random() < 0.5:
            done = queue.pop(0)
            receiver.window.leave(done.size, done.nbytes)
            unacked.append(done)
        if unacked and rng.random() < 0.5:
            part = unacked.pop(rng.randrange(len(unacked)))
            receiver.ack(part.number, now, part.sub)
        if receiver.window.grant(window, 1 << 20):
            receiver.urge(now)
        if receiver.due is not None and receiver.due <= now:
            wire.carry(wire.up, receiver.statement())
        if wire.up and rng.random() < 0.8:
            statement = decode(wire.up.pop(0))
            assert isinstance(statement, Statement)
            acked += [outbatch.batch.ends[0].path[0] for outbatch in sender.statement(statement, now)]
        sender.check()
        receiver.check()
        assert len(queue) <= window
        if not wire.lying and sent == total and not sender.retained and not wire.up and not wire.down:
            break
    assert arrived == list(range(total))
    assert sorted(acked) == list(range(total))
    assert not sender.retained and sender.tasks_sent == receiver.window.left_tasks == total
    assert sender.deadline() is None, "at rest nothing is owed"


def test_nonsense_from_a_receiver_changes_nothing() -> None:
    effects: list[Effect] = []
    sender = LinkSender(A, B, effects, 0.0)
    lie = Statement(B, A, received=9, acked=9, ranges=[], tasks=100, nbytes=100)
    assert sender.statement(lie, 0.0) == []
    assert not sender.open and sender.credit == 0


def test_an_older_statement_takes_nothing_back() -> None:
    effects: list[Effect] = []
    sender = LinkSender(A, B, effects, 0.0)
    sender.statement(Statement(B, A, 0, 0, [], tasks=10, nbytes=1000), 0.0)
    sender.send(OutBatch.of(Batch(b"j" * 16, 1, 0, ends=[End((0,), 0)]), B), 0.0)
    assert len(sender.statement(Statement(B, A, 1, 1, [], tasks=20, nbytes=2000), 0.1)) == 1
    assert sender.statement(Statement(B, A, 0, 0, [], tasks=10, nbytes=1000), 0.2) == []
    assert (sender.received, sender.acked, sender.credit) == (1, 1, 19)


def test_an_abandoned_link_gives_back_what_was_not_acked_in_order() -> None:
    effects: list[Effect] = []
    sender = LinkSender(A, B, effects, 0.0)
    sender.statement(Statement(B, A, 0, 0, [], tasks=10, nbytes=10_000), 0.0)
    for i in range(5):
        sender.send(OutBatch.of(Batch(b"j" * 16, 1, 0, ends=[End((i,), 0)]), B), 0.0)
    sender.statement(Statement(B, A, 5, 1, [(3, 3)], tasks=10, nbytes=10_000), 0.0)
    assert [outbatch.batch.ends[0].path for outbatch in sender.abandon()] == [(1,), (3,), (4,)]


lies = st.builds(
    Statement,
    source=st.just(B),
    target=st.just(A),
    received=st.integers(0, 5),
    acked=st.just(0),
    ranges=st.just([]),
    tasks=st.sampled_from([0, 1, 5, 100, MAX_INT]),
    nbytes=st.sampled_from([0, 1, MAX_INT]),
    nonce=st.integers(0, 3),
    gap=st.booleans(),
    returns=st.just([]),
    busy=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | lies, max_size=40), st.lists(st.integers(1, 6), min_size=1, max_size=20))
def test_a_link_outlives_what_a_stranger_says_in_its_receivers_name(
    said: list[Statement | None], sizes: list[int]
) -> None:
    """Credit that nobody gave, batches that have not arrived, a receiver that is busy for ever."""
    effects: list[Effect] = []
    sender, receiver = LinkSender(A, B, effects, 0.0), LinkReceiver(B, A)
    waiting, now = list(sizes), 0.0
    queue: list[Batch] = []
    lying = iter(said)
    for _ in range(4000):
        now += 0.1
        lie = next(lying, None)
        if lie is not None:
            sender.statement(lie, now)
        while waiting and sender.credit >= waiting[0]:
            ends = [End((k,), 0) for k in range(waiting.pop(0))]
            sender.send(OutBatch.of(Batch(b"j" * 16, 1, 0, ends=ends), B), now)
        if waiting:
            sender.starve(now)
        sender.tick(now)
        todo, effects[:] = list(effects), []
        for effect in todo:
            assert isinstance(effect, Send)
            message = effect.message
            if isinstance(message, Batch):
                if receiver.batch(message, now):
                    queue.append(message)
                    assert sum(batch.size for batch in queue) <= 6 + max(sizes)
            elif isinstance(message, Probe):
                receiver.probe(message.nonce, message.taken_back, now)
            else:
                receiver.urge(now)
        if queue:
            done = queue.pop(0)
            receiver.window.leave(done.size, done.nbytes)
            receiver.ack(done.number, now)
        if receiver.window.grant(6, 1 << 20):
            receiver.urge(now)
        if receiver.due is not None and receiver.due <= now:
            sender.statement(receiver.statement(), now)
        sender.check()
        receiver.check()
        if not waiting and not sender.retained:
            break
    assert not waiting and not sender.retained
    assert receiver.window.left_tasks == sum(sizes)
