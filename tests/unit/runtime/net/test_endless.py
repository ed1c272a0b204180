"""A message without an end is cut off, and a peer beside it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.unit.runtime.net.raw import EMPTY, connect, frame
from zturbo.runtime.net import endless
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.sockets import make

MB = 1 << 20


class Bound:
    """A socket that is watched, and somebody good who sends to it."""

    def __init__(self, kind: int, longest: int) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.arrivals = Arrivals()
        self.socket = make(
            self.context, kind, bind="tcp://127.0.0.1:*", arrivals=self.arrivals, longest=longest
        )
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.dealer = kind == zmq.ROUTER
        self.good = make(self.context, zmq.DEALER if self.dealer else zmq.PUSH, connect=self.endpoint)
        assert self.good.poll(5000, zmq.POLLOUT)
        self.now = 0.0

    def talk(self) -> None:
        """The good one says something, and it arrives."""
        self.good.send_multipart([b"x" * 1000, b"y"])
        assert self.socket.poll(5000)
        frames = self.socket.recv_multipart(copy=False)
        assert frames[-1].bytes == b"y"
        self.arrivals.heard(frames[-1])
        self.look()

    def look(self) -> None:
        self.now += 5.0
        self.arrivals.look(self.now)

    def close(self) -> None:
        self.arrivals.forget()
        self.good.close()
        self.socket.close()
        self.context.term()


@pytest.fixture
def bind() -> Iterator[Callable[[int, int], Bound]]:
    made: list[Bound] = []

    def make_one(kind: int, longest: int) -> Bound:
        made.append(Bound(kind, longest))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("kind", [zmq.PULL, zmq.ROUTER])
@pytest.mark.parametrize("junk", [EMPTY * 50_000, frame(b"x" * 100_000, more=True)], ids=["empty", "large"])
def test_a_message_without_an_end_is_cut_off(
    kind: int, junk: bytes, bind: Callable[[int, int], Bound], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endless, "GROWN", 30 * MB)
    bound = bind(kind, 40 * MB)
    bound.talk()
    before = resident()
    raw = connect(bound.endpoint, b"DEALER" if bound.dealer else b"PUSH")
    bound.look()
    sent = peak = 0
    with raw, pytest.raises(OSError):
        while sent < 400 * MB:
            raw.sendall(junk)
            sent += len(junk)
            bound.look()
            peak = max(peak, resident())
            if sent % (10 * len(junk)) == 0:
                bound.talk()
    assert bound.arrivals.cut == 1
    assert peak - before < 200 * MB
    bound.talk()
    bound.talk()


def test_whole_messages_are_never_cut_off(bind: Callable[[int, int], Bound]) -> None:
    """However much they are together, and however slowly one comes; and heartbeats are none."""
    bound = bind(zmq.PULL, 4 * MB)
    raw = connect(bound.endpoint, b"PUSH")
    with raw:
        for _ in range(5):
            raw.sendall(frame(b"x" * MB, more=True))
            bound.look()
            raw.sendall(frame(b"x" * MB, more=True) + frame(b"", more=False))
            assert bound.socket.poll(5000)
            bound.arrivals.heard(bound.socket.recv_multipart(copy=False)[-1])
            bound.look()
    assert bound.arrivals.cut == 0
    bound.talk()


def test_a_connection_that_is_gone_is_forgotten(bind: Callable[[int, int], Bound]) -> None:
    bound = bind(zmq.PULL, MB)
    bound.talk()
    known = len(bound.arrivals._connections)
    for _ in range(3):
        connect(bound.endpoint, b"PUSH").close()
    bound.talk()
    with connect(bound.endpoint, b"PUSH") as raw:
        raw.sendall(frame(b"last", more=False))
        while bound.socket.recv_multipart() != [b"last"]:
            pass
    while len(bound.arrivals._connections) > known:
        assert bound.socket.poll(20) is not None
        bound.look()
