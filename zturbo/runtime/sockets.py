"""The one place that makes sockets, so that none is made without its options.

``IMMEDIATE`` (a message is queued only for a connection that stands), ``LINGER=0``, bounds on size,
heartbeats, never a blocking send; CURVE keys where they are configured. Sockets are disposable:
nothing relies on what is in their queues.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

import zmq

from zturbo.errors import StartError, UsageError
from zturbo.runtime.disk.folders import LONGEST_IPC
from zturbo.runtime.host import is_loopback

__all__ = ["MAX_MESSAGE", "Security", "check_bind", "make"]

MAX_MESSAGE = 1 << 30
"""Bytes that one frame may have on the wire. A larger task is an error in the task that made it."""

HIGH_WATER = 10_000
"""Messages in one socket's queue; credit keeps it far below."""


@dataclass(slots=True, frozen=True)
class Security:
    """CURVE keys of this process (Z85, 40 characters each)."""

    public: str
    secret: str
    server: str
    """Public key that peers of this deployment present; all of its processes share one."""


def check_bind(address: str, *, insecure: bool, security: Security | None = None) -> None:
    """Refuse an address that others can reach while nothing keeps them out.

    Raises:
        UsageError: it is no loopback and no ipc address, and there are neither keys nor ``insecure``.
    """
    parts = urlsplit(address)
    if parts.scheme in ("ipc", "inproc") or security is not None or insecure:
        return
    if parts.scheme != "tcp" or not parts.hostname:
        raise UsageError(f"{address!r} is no address of the form tcp://HOST:PORT or ipc://PATH")
    if not is_loopback(address):
        raise UsageError(
            f"{address} can be reached from other hosts, and anybody there could run jobs: bind to "
            "127.0.0.1, or accept that on a network you trust with --insecure"
        )


def _check_length(address: str) -> None:
    path = address.removeprefix("ipc://")
    if path != address and len(os.fsencode(path)) > LONGEST_IPC:
        raise StartError(
            f"{address} is too long: the path of an ipc address may have {LONGEST_IPC} bytes, and this has "
            f"{len(os.fsencode(path))}. Name a shorter one"
        )


def make(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    *,
    bind: str | None = None,
    connect: str | None = None,
    identity: bytes | None = None,
    security: Security | None = None,
) -> zmq.Socket[bytes]:
    """A socket with the house's options.

    Args:
        context: zmq context.
        kind: ``zmq.PUSH`` and so on.
        bind: address to bind, if any.
        connect: address to connect to, if any.
        identity: routing id, for a DEALER.
        security: CURVE keys, if they are configured.

    Raises:
        StartError: the address cannot be bound, or is too long; it says why and what to do.
    """
    for address in (bind, connect):
        if address is not None:
            _check_length(address)
    socket = context.socket(kind)
    socket.linger = 0
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    if any(address is not None and address.startswith("tcp://[") for address in (bind, connect)):
        socket.setsockopt(zmq.IPV6, 1)  # for these alone: with it a name means its IPv6 address
    if kind != zmq.ROUTER:
        socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 20_000)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    if identity is not None:
        socket.setsockopt(zmq.IDENTITY, identity)
    if security is not None:
        socket.curve_publickey = security.public.encode()
        socket.curve_secretkey = security.secret.encode()
        if bind is not None:
            socket.curve_server = True
        else:
            socket.curve_serverkey = security.server.encode()
    if bind is not None:
        try:
            socket.bind(bind)
        except zmq.ZMQError as error:
            socket.close()
            if error.errno == zmq.EADDRINUSE:
                raise StartError(
                    f"{bind} is in use: is another broker running there? Stop it, or bind to another address"
                ) from None
            raise StartError(f"cannot bind {bind}: {error.strerror}") from None
    if connect is not None:
        socket.connect(connect)
    return socket
