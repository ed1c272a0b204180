"""A receiver's states: in which form the next batch has come."""

from __future__ import annotations

import pytest

from zturbo.core.links.receiver import (
    LINGER,
    LINGER_LARGE,
    RECEIVER,
    USELESS_FOR,
    LinkReceiver,
    ReceiverState,
)
from zturbo.core.states import ImpossibleTransition
from zturbo.wire.messages import Batch

A, B, JOB = (name * 16 for name in (b"a", b"b", b"j"))
TAKING, BEYOND, UNREADABLE = ReceiverState


def batch(number: int, tasks: int = 1) -> Batch:
    return Batch(JOB, 1, 1, [((0,), tasks)], tasks, b"\x01" * tasks, number=number, source=A, target=B)


def ready() -> LinkReceiver:
    """A receiver with credit for two tasks, of which one is in use."""
    receiver = LinkReceiver(B, A)
    receiver.window.grant(2, 1 << 20)
    assert receiver.batch(batch(1), 0.0)
    return receiver


def test_what_is_beyond_the_credit_is_taken_once_nothing_else_is_here() -> None:
    receiver = ready()
    assert not receiver.batch(batch(2, 9), 0.0)
    assert receiver.state is BEYOND
    assert receiver.waits_for == (JOB, 1)
    receiver.window.leave(1, 1)
    assert receiver.batch(batch(2, 9), 0.1)
    assert receiver.state is TAKING
    assert receiver.waits_for is None
    receiver.check()


def test_what_lasts_is_told_each_second_of_the_next_batch_alone() -> None:
    receiver = ready()
    receiver.refuse(batch(2), UNREADABLE, 0.0)
    assert not receiver.hopeless(batch(2), USELESS_FOR / 2)
    assert not receiver.batch(batch(2, 9), USELESS_FOR / 2)
    assert receiver.state is BEYOND, "it is the same batch"
    assert receiver.hopeless(batch(2), USELESS_FOR)
    assert not receiver.hopeless(batch(3), 3 * USELESS_FOR)
    assert not receiver.hopeless(batch(2), 1.5 * USELESS_FOR)
    receiver.refuse(batch(2), UNREADABLE, 2 * USELESS_FOR)
    assert receiver.state is UNREADABLE
    assert receiver.hopeless(batch(2), 2 * USELESS_FOR)
    receiver.skip([batch(2)], [], 2 * USELESS_FOR)
    assert (receiver.state, receiver.received) == (TAKING, 2)
    receiver.refuse(batch(9), UNREADABLE, 2 * USELESS_FOR)
    assert receiver.state is TAKING, "it is not the next one"
    moves = [told.partition(" (")[0] for told in receiver.story]
    assert moves == [
        "taking -> unreadable",
        "unreadable -> beyond",
        "beyond -> unreadable",
        "unreadable -> taking",
    ]


def test_an_impossible_move_tells_the_link_s_story() -> None:
    receiver = ready()
    receiver.refuse(batch(2), UNREADABLE, 0.0)
    with pytest.raises(ImpossibleTransition, match=r"before that: taking -> unreadable \(batch 2\)"):
        RECEIVER.move(receiver.state, UNREADABLE, receiver.story)


def test_acks_wait_for_others_and_those_of_large_batches_not_as_long() -> None:
    receiver = LinkReceiver(B, A)
    receiver.window.grant(1000, 1 << 20)
    assert receiver.batch(batch(1), 0.0) and receiver.batch(batch(2, 100), 0.0)
    receiver.ack(1, 1.0)
    assert receiver.due == 1.0 + LINGER_LARGE, "the large one behind it comes soon, too"
    receiver = LinkReceiver(B, A)
    receiver.window.grant(1000, 1 << 20)
    assert receiver.batch(batch(1), 0.0)
    receiver.ack(1, 1.0)
    assert receiver.due == 1.0 + LINGER
