"""Where a reader's results are, and whose turn it is: the client's I/O thread; its peers are played."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from zturbo.client.io import ClientIO
from zturbo.client.reader import Reader
from zturbo.runtime.net.sockets import make
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_request
from zturbo.wire.control.message import Request
from zturbo.wire.messages import Results, Want
from zturbo.wire.payload import pack_many

JOB = b"J" * 16


class Played:
    """A broker or a sink: a ROUTER that one client talks to."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self.address = address
        self.socket = make(context, zmq.ROUTER, bind=address)
        self.socket.setsockopt(zmq.RCVTIMEO, 10_000)
        self.client = b""
        self._asked: set[int] = set()

    def asked(self) -> Request[Any]:
        """What a broker is asked next: a question that is repeated on a busy machine counts once."""
        while True:
            self.client, *frames = self.socket.recv_multipart()
            message = read_request(frames)
            assert isinstance(message, Request)
            if message.ref not in self._asked:
                self._asked.add(message.ref)
                return message

    def wanted(self) -> Want:
        """What a sink is asked next."""
        self.client, *frames = self.socket.recv_multipart()
        want = decode(frames)
        assert isinstance(want, Want)
        return want

    def answer(self, message: Request[Any], value: object) -> None:
        """Say ``ok``."""
        self.socket.send_multipart([self.client, *pack_control(from_broker.Ok(ref=message.ref, value=value))])

    def give(self, token: int, first: int, contents: list[int], total: int | None = None) -> None:
        """Send results."""
        results = Results(JOB, token, first, len(contents), pack_many(contents), total=total)
        self.socket.send_multipart([self.client, *encode(results)])


@pytest.fixture
def played(tmp_path: Path) -> Iterator[list[Played]]:
    """A broker and two sinks."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
    there = [Played(context, f"ipc://{tmp_path}/{name}") for name in ("broker", "one", "two")]
    yield there
    for peer in there:
        peer.socket.close()
    context.term()


@pytest.fixture
def io(played: list[Played]) -> Iterator[ClientIO]:
    io = ClientIO(played[0].address)
    yield io
    io.close()


def at(sink: Played | None, token: int) -> answers.Whereabouts:
    """The broker's word on where results are."""
    return answers.Whereabouts(
        name="j",
        fed=0,
        token=token,
        state="running",
        epoch=1,
        error=None,
        kind=None,
        waiting=None,
        sink=b"" if sink is None else sink.address[-3:].encode() * 5 + b"x",
        results=() if sink is None else (sink.address,),
        host="",
    )


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
    Reader(io, JOB, 0, at(None, 5))
    broker.answer(broker.asked(), at(None, 7))
    broker.answer(broker.asked(), at(sink, 9))
    assert sink.wanted().token == 5


def test_who_has_not_been_told_takes_the_first_answers_turn(io: ClientIO, played: list[Played]) -> None:
    broker, sink, _ = played
    Reader(io, JOB, 0, None)
    broker.answer(broker.asked(), at(None, 7))
    broker.answer(broker.asked(), at(sink, 9))
    assert sink.wanted().token == 7


def test_results_of_the_sink_before_are_dropped(io: ClientIO, played: list[Played]) -> None:
    broker, one, two = played
    reader = Reader(io, JOB, 0, at(one, 5))
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
