"""Connections that never say anything hold descriptors, and a client still gets its turn."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
import time

import zmq

from zturbo.runtime.net import sockets
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.sockets import make

DESCRIPTORS, IDLE = 64, 300
CALL = f"import {__name__} as here; here.answer()"


def answer() -> None:
    """Answer whoever asks at an address that is printed, with few descriptors, until stdin ends."""
    sockets.HANDSHAKE = 300
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    arrivals = Arrivals()
    router = make(zmq.Context(), zmq.ROUTER, bind="tcp://127.0.0.1:*", arrivals=arrivals)
    print(router.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    while True:
        arrivals.look(time.monotonic())
        ready = dict(poller.poll(50))
        if router in ready:
            who, *frames = arrivals.receive(router)
            router.send_multipart([who, *frames])
        elif ready:
            return


def test_a_client_gets_in_beside_many_idle_connections() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CALL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with contextlib.ExitStack() as stack:
        stack.callback(child.communicate)
        stack.callback(context.destroy, linger=0)
        address = child.stdout.readline().strip()
        port = int(address.rpartition(":")[2])
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        dealer = make(context, zmq.DEALER, connect=address)
        dealer.send(b"hello")
        assert dealer.poll(60_000)
        assert dealer.recv() == b"hello"
    assert child.returncode == 0
