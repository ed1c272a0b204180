"""What the socket factory promises: nothing aborts the process, and nothing is queued for nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from zturbo.errors import UsageError
from zturbo.runtime.net.sockets import Dealer, check_bind, make, send_frames

ROUNDS = 4
MESSAGES = 400


def read_from_the_dead(sender: int, receiver: int, frames: int, folder: str) -> None:
    """Fill a socket with messages, close their sender, and read: libzmq must not abort, nor lose a part.

    Once libzmq knows that the connection is broken the messages are still to be read. ``recv`` processes
    commands at each hundredth call, so with any number of frames some of these calls lie within a message.
    """
    for turn in range(ROUNDS):
        address = f"ipc://{folder}/{turn}"
        ours: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        theirs: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        if receiver == zmq.DEALER:
            there, here = make(theirs, sender, bind=address), make(ours, receiver, connect=address)
            here.send(b"hello")
            to = [there.recv()]
        else:
            here, there = make(ours, receiver, bind=address), make(theirs, sender, connect=address)
            to = []
        watched = here.get_monitor_socket(zmq.EVENT_DISCONNECTED) if receiver != zmq.DEALER else None
        for k in range(MESSAGES):
            there.send_multipart([*to, *([b"%d" % k] * frames)])
        there.close(linger=10_000)
        if watched is not None:
            assert watched.poll(10_000)
            watched.close()
            here.disable_monitor()
        else:
            assert isinstance(here, Dealer)
            until = time.monotonic() + 10
            while here.connected():
                assert time.monotonic() < until
        for k in range(MESSAGES):
            assert here.poll(10_000)
            assert here.recv_multipart(zmq.DONTWAIT)[-frames:] == [b"%d" % k] * frames
        here.close()
        theirs.term()
        ours.term()


@pytest.mark.parametrize("frames", [2, 3])
@pytest.mark.parametrize(
    ("sender", "receiver"), [(zmq.ROUTER, zmq.DEALER), (zmq.DEALER, zmq.ROUTER), (zmq.PUSH, zmq.PULL)]
)
def test_a_dead_peers_messages_are_read_whole(
    sender: int, receiver: int, frames: int, tmp_path: Path
) -> None:
    call = f"from {__name__} import *; read_from_the_dead({sender}, {receiver}, {frames}, {str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


def say(dealer: zmq.Socket[bytes], text: bytes) -> bool:
    try:
        send_frames(dealer, [text, b""])
    except zmq.Again:
        return False
    return True


def say_once_connected(dealer: zmq.Socket[bytes], text: bytes) -> None:
    until = time.monotonic() + 10
    while not say(dealer, text):
        assert time.monotonic() < until


def test_nothing_is_queued_while_there_is_no_connection(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    """What its sender gave up long ago must not reach a broker that comes back."""
    address = f"ipc://{tmp_path}/broker"
    dealer = make(context, zmq.DEALER, connect=address, identity=b"me")
    assert isinstance(dealer, Dealer)
    for _ in range(3):
        assert not say(dealer, b"nobody is there")
        router = make(context, zmq.ROUTER, bind=address)
        router.setsockopt(zmq.RCVTIMEO, 10_000)
        say_once_connected(dealer, b"now")
        assert router.recv_multipart() == [b"me", b"now", b""]
        router.close()
        until = time.monotonic() + 10
        while dealer.connected():
            assert time.monotonic() < until
    dealer.close()


def test_a_socket_on_this_host_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mask = os.umask(0)
    try:
        for address in 2 * (f"ipc://{tmp_path}/whole", "ipc://relative"):  # the second finds a file
            with zmq.Context() as context:  # its end waits until the socket is closed
                made = make(context, zmq.PULL, bind=address)
                assert os.stat(address.removeprefix("ipc://")).st_mode & 0o777 == 0o600
                made.close()
    finally:
        os.umask(mask)


@pytest.mark.parametrize("address", ["tcp://192.0.2.7:5555", "tcp://*:5555", "ipc://@broker"])
def test_an_address_that_strangers_reach_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="--insecure"):
        check_bind(address, insecure=False)
    check_bind(address, insecure=True)
    check_bind("tcp://127.0.0.1:5555", insecure=False)
    check_bind("ipc:///run/broker", insecure=False)
