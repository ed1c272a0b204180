"""Where a reader's results are, and whose turn it is: the client's I/O thread; its peers are played."""

from __future__ import annotations

import errno

import pytest
import zmq

from tests.unit.client.played import JOB, Played, at
from zturbo.client.acceptance import Acceptance
from zturbo.client.io import ClientIO
from zturbo.client.reader import Reader
from zturbo.wire.control import to_broker


def test_a_round_that_fails_leaves_nobody_waiting(
    io: ClientIO, played: list[Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        monkeypatch.undo()
        raise zmq.ZMQError(errno.EMFILE)

    broker, *_ = played
    monkeypatch.setattr(io, "_read_control", fail)
    told = io.ask(to_broker.Attach(job=JOB))
    broker.answer(broker.asked(), at(None, 5))
    assert told.result(10).token == 5


def test_who_asks_again_keeps_its_turn(io: ClientIO, played: list[Played]) -> None:
    """A token of each answer would take the results over from whoever attached meanwhile."""
    broker, sink, _ = played
    Reader(io, JOB, 0, Acceptance.of(at(None, 5)))
    broker.answer(broker.asked(), at(None, 7))
    broker.answer(broker.asked(), at(sink, 9))
    assert sink.wanted().token == 5


def test_who_has_not_been_told_takes_the_first_answers_turn(io: ClientIO, played: list[Played]) -> None:
    broker, sink, _ = played
    acceptance = Acceptance.of(at(None, 5))
    assert acceptance.take_turn()  # another reader has it
    Reader(io, JOB, 0, acceptance)
    broker.answer(broker.asked(), at(None, 7))
    broker.answer(broker.asked(), at(sink, 9))
    assert sink.wanted().token == 7


def test_results_of_the_sink_before_are_dropped(io: ClientIO, played: list[Played]) -> None:
    broker, one, two = played
    reader = Reader(io, JOB, 0, Acceptance.of(at(one, 5)))
    assert one.wanted().first == 0
    one.give(5, 0, [10, 11])
    contents = reader.contents(None)
    assert [next(contents), next(contents)] == [10, 11]
    broker.answer(broker.asked(), at(two, 8))
    want = two.wanted()
    assert (want.token, want.first) == (5, 2)
    one.give(5, 2, [0, 0], total=4)
    two.give(5, 2, [12, 13], total=4)
    assert list(contents) == [12, 13]
