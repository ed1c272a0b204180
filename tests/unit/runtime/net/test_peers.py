"""Over which address a peer is reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.host import listens
from zturbo.runtime.net.peers import GUEST, GUESTS, IDLE, Inbox, Peers
from zturbo.wire.control.view import Member

PEER = b"p" * 16


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


def way(context: zmq.Context[zmq.Socket[bytes]], inbox: Inbox, host: str, ends: list[str]) -> str | None:
    """The scheme over which a message comes; None if there is no way."""
    peers = Peers(context, "here", Arrivals())
    peers.set_members({PEER: Member(PEER, "worker", "p", 0, host, tuple(ends))})
    peers.send(PEER, [b"hello"])
    if peers.dropped:
        return None
    while not any(socket.poll(10) for socket in inbox.sockets):
        peers.flush()
    (came,) = [socket for socket in inbox.sockets if socket.poll(0)]
    assert list(inbox.receive(came)) == [[b"hello"]]
    assert peers.is_near(PEER) == (came is inbox.sockets[0])
    peers.close()
    return inbox.endpoints[inbox.sockets.index(came)].partition(":")[0]


def test_ipc_is_used_where_both_have_the_same_files(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    inbox = Inbox(context, [f"ipc://{tmp_path}/in", "tcp://127.0.0.1:*"], Arrivals())
    assert way(context, inbox, "here", inbox.endpoints) == "ipc"
    os.rename(tmp_path / "in", tmp_path / "elsewhere")
    assert way(context, inbox, "here", inbox.endpoints) == "tcp", "its folder is another container's"
    (tmp_path / "in").touch()
    assert way(context, inbox, "here", inbox.endpoints) == "tcp", "nobody listens there"
    assert way(context, inbox, "here", inbox.endpoints[:1]) is None


def test_loopback_leads_to_no_other_host(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    inbox = Inbox(context, [f"ipc://{tmp_path}/in", "tcp://127.0.0.1:*"], Arrivals())
    assert way(context, inbox, "there", inbox.endpoints) is None
    other = Inbox(context, [f"ipc://{tmp_path}/other", "tcp://0.0.0.0:*"], Arrivals())
    port = other.endpoints[1].rpartition(":")[2]
    assert way(context, other, "there", [inbox.endpoints[1], f"tcp://0.0.0.0:{port}"]) == "tcp"


def test_a_process_that_is_no_member_is_reached_for_a_while(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    inbox = Inbox(context, [f"ipc://{tmp_path}/in"], Arrivals())
    guest = Member(PEER, "worker", "p", 0, "here", tuple(inbox.endpoints))
    peers = Peers(context, "here", Arrivals())
    peers.send(PEER, [b"hello"])
    assert peers.dropped == 1
    peers.meet([guest], 0.0)
    peers.set_members({})
    peers.look(GUEST - 1.0)
    peers.send(PEER, [b"hello"])
    while not inbox.sockets[0].poll(10):
        peers.flush()
    peers.look(GUEST + 1.0)
    assert len(peers.gone) == 1
    peers.send(PEER, [b"hello"])
    assert peers.dropped == 2
    peers.meet([guest], 20.0)
    peers.set_members({PEER: guest})
    peers.look(100.0)
    peers.send(PEER, [b"hello"])
    assert len(peers.gone) == 1, "it is a member now"
    first, *others = [
        Member(k.to_bytes(16, "big"), "worker", "p", 0, "here", tuple(inbox.endpoints))
        for k in range(GUESTS + 1)
    ]
    peers.meet([first], 100.0)
    peers.meet(others, 100.0)
    peers.send(first.incarnation, [b"hello"])
    assert peers.dropped == 3, "strangers take no more room"
    peers.close()


def test_of_several_addresses_the_first_that_answers_is_used(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    inbox = Inbox(context, ["tcp://127.0.0.1:*"], Arrivals())
    silent = "tcp://192.0.2.1:9"
    refused = Inbox(context, ["tcp://127.0.0.1:*"], Arrivals())
    ends = (silent, refused.endpoints[0], inbox.endpoints[0])
    refused.close()
    while listens(refused.endpoints[0]):
        pass
    peers = Peers(context, "here", Arrivals())
    peers.set_members({PEER: Member(PEER, "worker", "p", 0, "here", ends)})
    peers.send(PEER, [b"one"])
    while not inbox.sockets[0].poll(10):
        peers.flush()
    assert len(peers.gone) == 2 and not peers.blocked
    peers.bury()
    peers.send(PEER, [b"two"])
    while not inbox.sockets[0].poll(10):
        peers.flush()
    assert list(inbox.receive(inbox.sockets[0]))
    peers.look(0.0)
    assert not peers.blocked, "one way is enough"
    peers.close()


def test_the_other_addresses_are_tried_again_when_one_is_silent(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    first = Inbox(context, ["tcp://127.0.0.1:*"], Arrivals())
    second = Inbox(context, ["tcp://127.0.0.1:*"], Arrivals())
    peers = Peers(context, "here", Arrivals())
    ends = (first.endpoints[0], second.endpoints[0])
    peers.set_members({PEER: Member(PEER, "worker", "p", 0, "here", ends)})
    peers.send(PEER, [b"one"])
    while not (first.sockets[0].poll(10) or second.sockets[0].poll(0)):
        peers.flush()
    used, other = (first, second) if first.sockets[0].poll(0) else (second, first)
    used.close()
    now = 0.0
    while not other.sockets[0].poll(10):
        peers.send(PEER, [b"more"])
        peers.flush()
        now += 1.0
        peers.look(now)
    peers.close()


def test_a_peer_that_gets_nothing_for_a_while_costs_no_socket(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    inbox = Inbox(context, [f"ipc://{tmp_path}/in"], Arrivals())
    peers = Peers(context, "here", Arrivals())
    peers.set_members({PEER: Member(PEER, "worker", "p", 0, "here", tuple(inbox.endpoints))})

    def arrives(text: bytes) -> None:
        peers.send(PEER, [text])
        while not inbox.sockets[0].poll(10):
            peers.flush()
        assert list(inbox.receive(inbox.sockets[0])) == [[text]]

    arrives(b"one")
    for now in (0.0, IDLE - 1.0):
        peers.look(now)
        assert not peers.gone
    arrives(b"two")
    peers.look(IDLE)
    peers.look(2 * IDLE - 1.0)
    assert not peers.gone, "it was used since"
    peers.look(2 * IDLE)
    assert len(peers.gone) == 1
    peers.bury()
    arrives(b"three")
    assert peers.dropped == 0
    peers.close()
