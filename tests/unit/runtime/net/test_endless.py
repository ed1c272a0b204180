"""A message without an end is cut off, and a peer beside it goes on."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.support.cluster import eventually
from tests.unit.runtime.net.raw import EMPTY, accept, connect, frame, shake_hands
from zturbo.runtime.net import endless, sockets
from zturbo.runtime.net.audit import Audit
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.keys import Identity, Security
from zturbo.runtime.net.peers import Inbox
from zturbo.runtime.net.sockets import make
from zturbo.wire.messages import MAX_FRAMES

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


class Flood:
    """The same bytes again and again, as fast as the other end takes them."""

    def __init__(self, raw: socket.socket, junk: bytes) -> None:
        raw.settimeout(0.02)
        self.raw = raw
        self.junk = self.rest = memoryview(junk)

    def send(self) -> None:
        """Some more of it, if there is a window."""
        with contextlib.suppress(OSError):  # none, or it was cut off
            self.rest = self.rest[self.raw.send(self.rest) :] or self.junk


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
    before = peak = resident()
    with connect(bound.endpoint, b"DEALER" if bound.dealer else b"PUSH") as raw:
        flood = Flood(raw, junk)
        while not bound.arrivals.cut:
            for _ in range(10):
                flood.send()
                bound.look()
                peak = max(peak, resident())
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


def local_address(fd: int) -> object:
    try:
        one = socket.socket(fileno=fd)
    except OSError:  # it has just been closed
        return None
    try:
        return one.getsockname()
    finally:
        one.detach()


class Connecting:
    """A socket that connects to a stranger."""

    def __init__(self, kind: int, longest: int) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(20)
        self.kind = b"ROUTER" if kind == zmq.DEALER else b"PULL"
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.arrivals = Arrivals()
        self.socket = make(
            self.context,
            kind,
            connect=f"tcp://127.0.0.1:{self.listening.getsockname()[1]}",
            arrivals=self.arrivals,
            longest=longest,
        )
        self.now = 0.0

    def expect(self) -> None:
        """Wait until it tries to connect."""
        eventually(lambda: self.look() or bool(select.select([self.listening], [], [], 0.01)[0]), 20)

    def accept(self) -> socket.socket:
        """The stranger's end, of a connection that is watched."""
        self.expect()
        raw = accept(self.listening, self.kind)
        mine = raw.getpeername()
        eventually(lambda: self.look() or mine in map(local_address, self.arrivals._connections), 20)
        return raw

    def look(self) -> None:
        self.now += 5.0
        self.arrivals.look(self.now)

    def close(self) -> None:
        self.arrivals.forget()
        self.socket.close()
        self.context.term()
        self.listening.close()


@pytest.fixture
def connecting() -> Iterator[Callable[[int, int], Connecting]]:
    made: list[Connecting] = []

    def make_one(kind: int, longest: int) -> Connecting:
        made.append(Connecting(kind, longest))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("kind", "junk"),
    [
        (zmq.DEALER, EMPTY * 50_000),
        (zmq.DEALER, frame(b"x" * 100_000, more=True)),
        (zmq.PUSH, EMPTY * 50_000),
        (zmq.PUSH, frame(b"x" * 1000, more=True) * 100),
    ],
    ids=["dealer, empty", "dealer, large", "push, empty", "push, large"],
)
def test_whom_this_process_connects_to_is_cut_off_too(
    kind: int, junk: bytes, connecting: Callable[[int, int], Connecting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again: it connects anew, since a correct peer may have that address by then."""
    monkeypatch.setattr(endless, "GROWN", 30 * MB)
    one = connecting(kind, 40 * MB)
    for cuts in (1, 2):
        before = peak = resident()
        with one.accept() as raw:
            flood = Flood(raw, junk)
            while one.arrivals.cut < cuts:
                flood.send()
                one.look()
                peak = max(peak, resident())
        assert peak - before < 200 * MB


def test_a_frame_that_is_too_large_ends_no_dealer(
    connecting: Callable[[int, int], Connecting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do bytes that are no ZeroMQ: libzmq gives a connection up after them; it is made anew."""
    monkeypatch.setattr(sockets, "GIVEN_UP", 0.1)
    one = connecting(zmq.DEALER, 40 * MB)
    with one.accept() as raw:
        raw.sendall(frame(b"x" * 41 * MB, more=False)[:1000])
        with contextlib.suppress(ConnectionError):
            while raw.recv(1000):
                pass
    one.expect()
    with one.listening.accept()[0] as other:
        other.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(64))
        with contextlib.suppress(ConnectionError):
            while other.recv(1000):
                pass
    with one.accept() as raw:
        raw.sendall(frame(b"hello", more=False))
        assert one.socket.poll(5000)
        assert [part.bytes for part in one.arrivals.receive(one.socket)] == [b"hello"]


def test_a_socket_that_takes_nothing_keeps_no_whole_messages(
    connecting: Callable[[int, int], Connecting],
) -> None:
    one = connecting(zmq.PUSH, 1 << 30)
    with one.accept() as raw:
        raw.settimeout(0.1)
        with pytest.raises(TimeoutError):
            for _ in range(400):
                raw.sendall(frame(b"x" * 1000, more=False) * 1000)


def test_a_socket_that_takes_nothing_keeps_no_large_frame(
    connecting: Callable[[int, int], Connecting],
) -> None:
    one = connecting(zmq.PUSH, 1 << 30)
    with one.accept() as raw:
        raw.sendall(frame(b"x" * MB, more=False)[:100])
        with contextlib.suppress(ConnectionError):
            while raw.recv(1000):
                pass


def test_a_dealers_whole_messages_are_read(connecting: Callable[[int, int], Connecting]) -> None:
    one = connecting(zmq.DEALER, 4 * MB)
    with one.accept() as raw:
        for _ in range(5):
            raw.sendall(frame(b"x" * MB, more=True))
            one.look()
            raw.sendall(frame(b"x" * MB, more=True) + frame(b"y", more=False))
            assert one.socket.poll(5000)
            assert [len(part) for part in one.arrivals.receive(one.socket)] == [MB, MB, 1]
            one.look()
    assert one.arrivals.cut == 0


@pytest.mark.parametrize(
    ("host", "same"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("[::]", "[::1]"),
        ("[::ffff:10.1.2.3]", "10.1.2.3"),
        ("[fe80::1%25eth0]", "[fe80::1]"),
        ("[0:0::0001]", "[::1]"),
    ],
)
def test_spellings_of_an_address(host: str, same: str) -> None:
    assert endless.address_of(f"tcp://{host}:5555") == endless.address_of(f"tcp://{same}:5555")


def test_descriptors_of_others_stay_as_they_are(connecting: Callable[[int, int], Connecting]) -> None:
    """A default timeout makes any ``socket.socket`` of a descriptor change whether that blocks."""
    one = connecting(zmq.PUSH, MB)
    a, b = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server, a, b:
        with socket.create_connection(server.getsockname()) as users:
            socket.setdefaulttimeout(5.0)
            try:
                one.accept().close()
            finally:
                socket.setdefaulttimeout(None)
            assert all(os.get_blocking(each.fileno()) for each in (a, b, server, users))


def test_growth_of_ones_own_code_cuts_off_nobody(
    bind: Callable[[int, int], Bound], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may grow by gigabytes while a large message arrives; tiny frames are needed too."""
    grown = [0]

    def grow() -> int:
        grown[0] += 1 << 30
        return grown[0]

    monkeypatch.setattr(endless, "resident", grow)
    monkeypatch.setattr(endless, "UNCLEAR", 1000)  # ZeroMQ may empty the kernel's buffer before each look
    bound = bind(zmq.PULL, 1 << 30)
    with connect(bound.endpoint, b"PUSH") as raw:
        bound.look()
        for _ in range(100):
            raw.sendall(frame(b"\x07" * MB, more=True))
            bound.look()
        raw.sendall(frame(b"", more=False))
        assert bound.socket.poll(5000)
        assert len(bound.arrivals.receive(bound.socket)) == 101
    assert bound.arrivals.cut == 0


def test_a_message_of_too_many_frames_is_read_in_part(bind: Callable[[int, int], Bound]) -> None:
    """Its reader refuses it; the next one comes whole."""
    bound = bind(zmq.PULL, 1 << 30)
    with connect(bound.endpoint, b"PUSH") as raw:
        raw.sendall(EMPTY * (2 * MAX_FRAMES) + frame(b"", more=False) + frame(b"next", more=False))
        assert bound.socket.poll(5000)
        assert len(bound.arrivals.receive(bound.socket)) == MAX_FRAMES + 2
        assert bound.socket.poll(5000)
        assert [part.bytes for part in bound.arrivals.receive(bound.socket)] == [b"next"]


def test_an_inbox_gives_each_message_once(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    arrivals = Arrivals()
    inbox = Inbox(context, [f"ipc://{tmp_path}/in", "tcp://127.0.0.1:*"], arrivals)
    for endpoint, bound in zip(inbox.endpoints, inbox.sockets, strict=True):
        good = make(context, zmq.PUSH, connect=endpoint)
        assert good.poll(5000, zmq.POLLOUT)
        good.send_multipart([b"a", b"b"])
        assert bound.poll(5000)
        assert list(inbox.receive(bound)) == [[b"a", b"b"]]
        good.close()
    arrivals.forget()
    inbox.close()
    context.term()


@pytest.mark.parametrize("speaks", [True, False])
def test_whoever_shows_no_key_is_told_of_with_his_address(speaks: bool) -> None:
    """He was refused; one that ends by itself was not."""
    said: list[str] = []
    audit = Audit(said.append)
    arrivals = Arrivals(audit)
    public, secret = (key.decode() for key in zmq.curve_keypair())
    keys = Security(Identity("broker", "broker"), public, secret, public, "")
    with zmq.Context() as context:
        bound = make(
            context, zmq.ROUTER, bind="tcp://127.0.0.1:*", arrivals=arrivals, security=keys, domain="d"
        )
        endpoint = bound.getsockopt_string(zmq.LAST_ENDPOINT)
        with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as raw:

            def took() -> int:
                arrivals.take(0.0)
                return arrivals.standing

            eventually(lambda: took() == 1)
            if speaks:
                with pytest.raises(OSError):
                    shake_hands(raw, b"DEALER")
            else:
                raw.shutdown(socket.SHUT_RDWR)
            eventually(lambda: took() == 0)
        assert said == ([f"refused from 127.0.0.1: {endless.KEYLESS}"] if speaks else [])
        assert (audit.count, audit.ended) == ((1, 0) if speaks else (0, 1))
        arrivals.forget()
        bound.close()
