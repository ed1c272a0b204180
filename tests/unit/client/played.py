"""A broker and sinks that a test plays to a client."""

from __future__ import annotations

from typing import Any

import zmq

from zturbo.runtime.net.sockets import make
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import answers, from_broker
from zturbo.wire.control.codec import pack_control, read_request
from zturbo.wire.control.message import Request
from zturbo.wire.messages import Results, Want
from zturbo.wire.payload import pack_many

__all__ = ["JOB", "Played", "at"]

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
