"""A batch that is of no use ends in a word to the broker, never in silence; and what is behind it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo.core.effects import Control, Effect, Send
from zturbo.core.links.credit import WINDOW_BYTES
from zturbo.core.links.custody import Custody
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.links.receivers import UNUSED_BYTES, Receivers
from zturbo.core.links.senders import Senders
from zturbo.core.sink.machine import SinkMachine
from zturbo.core.worker.machine import WorkerMachine
from zturbo.wire.codec import BadBatch, decode, encode
from zturbo.wire.control import to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import Batch, Mark, Stamp

BAD, GOOD, SENDER, ME = (name * 16 for name in (b"x", b"g", b"s", b"m"))


class Pair:
    """A sender and a receiver that say everything to each other as bytes."""

    def __init__(self, role: str) -> None:
        stage = 1 if role == "worker" else -1
        members = [Member(SENDER, "worker", "p", 0, "h", ("x",)), Member(ME, role, "p", stage, "h", ("x",))]
        view = View(1, {member.incarnation: member for member in members})
        self.effects: list[Effect] = []
        self.senders = Senders(SENDER, "h", Custody(), self.effects)
        self.receiver: Any = (
            WorkerMachine(ME, pipeline="p", stage=1, stages=2, ordered=False)
            if role == "worker"
            else SinkMachine(ME)
        )
        self.told: list[dict[str, Any]] = []
        self.now = 0.0
        self.receiver.view(view, 0.0)
        self.senders.set_view(view, members[1:], 0.0)
        self.wait(0.1)

    def put(self, job: bytes) -> None:
        """A batch of one task. Its stamp has a mark that no message can carry if the job is bad."""
        marks = (Mark(0, tuple(range(100)), "", ""),) if job == BAD else ()
        self.senders.stamp(Stamp(job, 1, "p", {}, ME, durability="memory", marks=marks))
        self.senders.put(OutBatch.of(Batch(job, 1, 1, [((0,), 1)], 1, b"\x01"), ME))
        self.senders.pump(self.now)
        self.wait(0.1)

    def wait(self, seconds: float) -> None:
        """Time passes, in small steps."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.05
            self.senders.tick(self.now)
            self.senders.pump(self.now)
            self.receiver.tick(self.now)
            for _ in range(3):
                self._carry()

    def _carry(self) -> None:
        sends = [effect for effect in self.effects if isinstance(effect, Send)]
        self.effects.clear()
        for effect in sends:
            try:
                self.receiver.data(decode([bytes(frame) for frame in encode(effect.message)]), self.now)
            except BadBatch as error:
                self.receiver.unreadable(error, self.now)
        back = list(self.receiver.effects)
        self.receiver.effects.clear()
        for effect in back:
            if isinstance(effect, Control):
                self.told.append(effect.message)
            elif isinstance(effect, Send):
                self.senders.statement(effect.message, self.now)
            elif type(effect).__name__ == "Store":
                self.receiver.stored([effect.token], self.now)

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.told if isinstance(message, kind)]


@pytest.mark.parametrize("role", ["worker", "sink"])
def test_a_stamp_that_cannot_be_read_ends_its_job_and_no_other(role: str) -> None:
    pair = Pair(role)
    pair.put(BAD)
    assert not pair.of(to_broker.JobFailed), "it may have been spoilt on the way"
    pair.wait(5.0)
    failed = pair.of(to_broker.JobFailed)
    assert 0 < len(failed) < 10
    assert all((message.job, message.epoch) == (BAD, 1) for message in failed)
    assert "cannot be read" in failed[0].error and "mark" in failed[0].error
    assert (BAD, 1, 0) in pair.receiver.known(0, 9), "the hello asks for the word that it has ended"
    for _ in range(5):
        pair.put(GOOD)
    assert pair.senders.pending_tasks or pair.senders.retained_tasks
    pair.receiver.forget([BAD], pair.now)
    pair.senders.forget(BAD)
    pair.wait(5.0)
    assert GOOD in pair.receiver.jobs
    assert pair.receiver.receivers.links[SENDER].received > 1, "what was behind it goes on"
    assert (BAD, 1, 0) not in pair.receiver.known(0, 9)
    pair.senders.check()


def _first(n: int = 1) -> Batch:
    runs = [((0,), n)] if n else []
    return Batch(GOOD, 1, 1, runs, n, b"1" * n, number=1, source=SENDER, target=ME)


def _adopted(received: int, *peers: bytes) -> Receivers:
    """Receivers whose senders, of so many batches each, were told of their credit."""
    receivers = Receivers(ME, [])
    for peer in peers:
        receivers.adopt(peer, received)
    receivers.grant(30, 0.0)
    receivers.flush(0.0)
    return receivers


def test_senders_that_send_nothing_take_little_room_from_the_others() -> None:
    receivers = _adopted(0, SENDER, BAD, GOOD)
    unused = receivers.links[SENDER].window.limit_bytes
    assert 0 < 3 * unused <= UNUSED_BYTES
    assert receivers.batch(_first(), 1.0) is not None and receivers.ungranted
    receivers.grant(30, 1.0)
    limits = {peer: link.window.limit_bytes for peer, link in receivers.links.items()}
    assert limits[SENDER] == WINDOW_BYTES - UNUSED_BYTES
    assert sum(limits.values()) <= WINDOW_BYTES
    assert [peer for peer, link in receivers.links.items() if link.due == 1.0] == [SENDER], "told at once"


def test_a_batch_without_contents_makes_no_sender_one_that_sends() -> None:
    receivers = _adopted(0, SENDER, GOOD)
    assert receivers.batch(_first(0), 1.0) is not None
    receivers.grant(30, 1.0)
    assert receivers.links[SENDER].window.limit_bytes < UNUSED_BYTES


def test_a_sender_in_the_place_of_another_one_has_its_share_at_once() -> None:
    receivers = Receivers(ME, [])
    receivers.adopt(SENDER, 5)
    receivers.adopt(GOOD, 0)
    receivers.grant(30, 0.0)
    assert receivers.links[SENDER].window.limit_bytes == WINDOW_BYTES - UNUSED_BYTES


def test_what_a_sender_had_that_is_gone_the_others_are_told_of_at_once() -> None:
    receivers = _adopted(5, SENDER, GOOD)
    receivers.set_view(View(2, {SENDER: Member(SENDER, "worker", "p", 0, "h", ("x",))}))
    assert receivers.ungranted
    receivers.grant(30, 1.0)
    assert receivers.links[SENDER].due == 1.0
    assert receivers.links[SENDER].window.limit_bytes == WINDOW_BYTES - UNUSED_BYTES


def test_a_sender_that_takes_more_than_its_credit_is_complained_of() -> None:
    pair = Pair("worker")
    link = pair.senders.links[ME]
    link.limit_tasks = 1 << 40
    number = link.sent + 1
    runs = [((0,), 100_000)]
    wild = Batch(GOOD, 1, 1, runs, 100_000, b"\x01" * 100_000, number=number, source=SENDER, target=ME)
    for _ in range(30):
        pair.receiver.data(wild, pair.now)
        pair.now += 0.1
    pair._carry()
    assert not pair.receiver.feed.queue and pair.receiver.receivers.links[SENDER].received == 0
    assert pair.of(to_broker.Broken)[0].peer == SENDER
