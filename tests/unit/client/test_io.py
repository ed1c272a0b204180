"""Where a reader's results are, and whose turn it is: the client's I/O thread; its peers are played."""

from __future__ import annotations

import errno
import threading
from queue import SimpleQueue

import pytest
import zmq

from tests.unit.client.played import JOB, Played, at
from zturbo.client.acceptance import Acceptance
from zturbo.client.io import ClientIO
from zturbo.client.reader import Reader
from zturbo.client.subscription import Subscription
from zturbo.core.result_stream import ResultStream
from zturbo.runtime.net.sockets import Dealer
from zturbo.wire.control import to_broker
from zturbo.wire.messages import PUSHED_RESULTS


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


def test_a_broken_connection_has_the_broker_asked_at_once(
    io: ClientIO, played: list[Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of a sink that has died does not wait until it asks where results are anyway."""
    monkeypatch.setattr("zturbo.client.subscriptions.LOCATE", 1000.0)
    broker, one, two = played
    reader = Reader(io, JOB, 0, Acceptance.of(at(one, 5)))
    assert one.wanted().first == 0
    one.give(5, 0, [10])
    contents = reader.contents(None)
    assert next(contents) == 10
    one.socket.close()
    broker.answer(broker.asked(), at(one, 6))  # it has not heard of the death
    broker.answer(broker.asked(), at(None, 7))
    broker.answer(broker.asked(), at(two, 8))
    assert two.wanted().first == 1
    two.give(5, 1, [11], total=2)
    assert list(contents) == [11]


def test_the_socket_to_a_sink_that_has_died_is_closed(
    io: ClientIO, played: list[Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may get the address, and would be taken for the sink."""
    monkeypatch.setattr("zturbo.client.subscriptions.LOCATE", 1000.0)
    closed: list[Dealer] = []
    close = Dealer.close
    monkeypatch.setattr(Dealer, "close", lambda socket, *args: closed.append(socket) or close(socket, *args))
    broker, one, two = played
    readers = [Reader(io, JOB, 0, Acceptance.of(at(one, token))) for token in (5, 6)]
    assert {one.wanted().token, one.wanted().token} == {5, 6}
    one.socket.close()
    for _ in readers:
        broker.answer(broker.asked(), at(two, 8))
    assert {two.wanted().token, two.wanted().token} == {5, 6}
    assert len(closed) == 1


def test_the_socket_to_a_sink_that_no_reader_needs_is_closed_when_it_breaks(
    io: ClientIO, played: list[Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()
    close = Dealer.close
    monkeypatch.setattr(Dealer, "close", lambda socket, *args: closed.set() or close(socket, *args))
    _, one, _ = played
    reader = Reader(io, JOB, 0, Acceptance.of(at(one, 5)))
    one.wanted()
    one.give(5, 0, [10], total=1)
    assert list(reader.contents(None)) == [10]
    one.socket.close()
    assert closed.wait(10)


@pytest.mark.parametrize("n, waits", [(3, True), (PUSHED_RESULTS + 1, False)])
def test_a_reader_waits_for_no_results_to_come_unasked_if_those_of_the_job_before_were_too_many(
    io: ClientIO, played: list[Played], n: int, waits: bool
) -> None:
    _, sink, _ = played
    reader = Reader(io, JOB, 0, Acceptance.of(at(sink, 5)))
    assert sink.wanted().first == 0
    sink.give(5, 0, list(range(n)), total=n)
    assert list(reader.contents(None)) == list(range(n))
    asked: SimpleQueue[bool] = SimpleQueue()

    def begin(now: float) -> None:
        sub = Subscription(ResultStream(JOB, 6, 0), lambda *_: None, lambda error: None)
        io.results.pushed.expect(JOB, 6, b"s")
        io.results.begin(sub, Acceptance.of(at(None, 6)), True, now)
        asked.put(sub.stream.want(now) is not None)
        io.results.end(sub, tell=False)

    io.post(begin)
    assert asked.get(timeout=10) is not waits
