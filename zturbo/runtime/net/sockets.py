"""The one factory of sockets, so that none is made without its options.

A message is queued only for a connection that stands, and no send blocks. ``LINGER`` is 0, sizes are
bounded, connections between hosts have heartbeats, and CURVE keys are used if they are configured. Sockets
are disposable: no code relies on the contents of their queues.

For a socket that only sends, libzmq's option ``IMMEDIATE`` keeps messages from being queued without a
connection. A socket that connects and receives must not have it: libzmq 4.3.5 then aborts the process.

- When the connection of such a socket breaks, libzmq ends its pipe at once, whatever is still in the pipe
  (``socket_base_t::hiccuped``: ``if (options.immediate == 1) pipe_->terminate (false)``).
- A command tells the socket so. ``recv`` processes commands at each hundredth call, before it reads. That may
  be between two frames of one message: of messages with two frames, the hundredth frame is a second one.
- The pipe cannot be read any more, but the first frame announced a second:
  ``Assertion failed: !_more (src/fq.cpp:80)``.

Without the option the pipe outlives its connection. The pipes of a socket that binds are read to their ends
too. So neither can lose the rest of a message. :func:`send_frames` does what the option is for.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import zmq
from zmq.backend import zmq_poll

from zturbo.checks import LONGEST_IPC, is_loopback
from zturbo.errors import StartError, UsageError
from zturbo.runtime.net.endless import TAKES_NOTHING, Arrivals
from zturbo.runtime.net.host import listens
from zturbo.runtime.net.keys import Security
from zturbo.runtime.net.limits import check_room

__all__ = [
    "DONTWAIT",
    "MAX_MESSAGE",
    "SNDMORE",
    "Dealer",
    "check_bind",
    "check_length",
    "has_more",
    "make",
    "send_frames",
]

DONTWAIT, SNDMORE = int(zmq.DONTWAIT), int(zmq.SNDMORE)
"""As plain numbers: to join two flags of pyzmq's own enum takes longer than to send a small message."""

MAX_MESSAGE = 1 << 30
"""Bytes that one frame may have on the wire. A larger task is an error in the task that made it."""

ZERO_COPY = 512 << 10
"""Bytes from which on a frame is handed to ZeroMQ without a copy; for smaller ones a copy is cheaper."""

_POLLIN = int(zmq.POLLIN)

HIGH_WATER = 10_000
"""Messages in one socket's queue at most; credit keeps their number far below."""

HANDSHAKE = 3000
"""Milliseconds in which a connection has to show that it speaks ZeroMQ: each takes a descriptor."""

GIVEN_UP = 5.0
"""Seconds without an event of a connection that does not stand, after which it is made anew."""

RECONNECT, RECONNECT_NEAR, RECONNECT_FAR = 50, 100, 1000
"""Milliseconds between two tries to connect: at first, and at most within a host and to another one. A
process that starts again is there after about 300."""

AT_ONCE = 1.0
"""Seconds in which a handshake fails if the two ends have keys that do not fit."""

FAILURES = 3
"""Handshakes that fail at once, one after another, until that is taken for a matter of keys."""

REVOKED = "it does not let in this key: the key is not on its list, or was revoked"
NO_KEYS_THERE = (
    "it uses no keys, and this process does: unset ZTURBO_KEYS and leave out --keys, or start it with keys"
)
NO_KEYS_HERE = (
    "it wants a key, and this process has none: name a file of 'zturbo keys add', with --keys or in "
    "ZTURBO_KEYS"
)
OTHER_NETWORK = "it ends each handshake: it uses no keys, or this process has the keys of another network"

BACKLOG = 4096
"""Connections that may wait to be accepted: clients wait here while descriptors are short."""


_IN_USE = "{} is in use: is another broker running there? Stop it, or bind to another address"


def check_bind(address: str, *, insecure: bool) -> None:
    """Refuse an address that strangers can reach, if nothing keeps them out.

    Raises:
        UsageError: other hosts, or all users of this one, reach the address, and this is not ``insecure``,
            which says that there are keys, or that the user wants none.
    """
    if address.startswith("ipc://@") and not insecure:
        raise UsageError(
            f"{address} has no file, so each user of this host can reach it, and could run jobs: name a path "
            "in a folder of your own, such as ipc:///run/user/1000/broker, or accept it with --insecure"
        )
    parts = urlsplit(address)
    if parts.scheme in ("ipc", "inproc") or insecure:
        return
    if parts.scheme != "tcp" or not parts.hostname:
        raise UsageError(f"{address!r} is not of the form tcp://HOST:PORT or ipc://PATH")
    if not is_loopback(address):
        raise UsageError(
            f"{address} can be reached from other hosts, and any process there could run jobs. Make keys "
            "with 'zturbo keys init FOLDER', and name them with --keys FOLDER (on other hosts, a file that "
            "'zturbo keys add node NAME' makes). Or bind to 127.0.0.1, or accept it with --insecure on a "
            "network that you trust"
        )


def check_length(address: str) -> None:
    """Raise StartError if an ipc address is too long for the kernel."""
    path = address.removeprefix("ipc://")
    if path != address and len(os.fsencode(path)) > LONGEST_IPC:
        raise StartError(
            f"{address} is too long: the path of an ipc address may have {LONGEST_IPC} bytes, and this has "
            f"{len(os.fsencode(path))}. Name a shorter one"
        )


_monitors = itertools.count()
"""Numbers for the addresses of monitors, of which no two may be alike."""


class Dealer(zmq.Socket[bytes]):
    """A DEALER to which :func:`send_frames` gives nothing while it has no connection. It never loses the rest
    of a message that comes.

    :func:`make` makes it. A monitor tells it when its one connection stands and when it breaks.

    libzmq gives an address up for good if the other end has once spoken something else than ZeroMQ, or sent a
    frame that is too large. A stranger may have had the port for a while. So a connection without events for
    :data:`GIVEN_UP` seconds is made anew.
    """

    _monitor: zmq.Socket[bytes] | None = None
    stands = False
    """Whether its connection stands, as far as :meth:`connected` has noticed."""
    broken = False
    """Whether its connection has stood and does not now, as far as :meth:`connected` has noticed."""
    connections = 0
    """How often its connection has stood, as far as :meth:`connected` has noticed."""
    secured = False
    """Whether it uses keys."""
    _denial = ""
    _failures = 0
    """Handshakes that failed at once, since its connection last stood."""
    _opened = 0.0
    _fd: int | None = None
    _address = ""
    _heard = 0.0

    def follow(self, address: str) -> None:
        """Connect, and follow the connection."""
        events = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        events |= zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_CLOSED
        events |= zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        events |= zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        monitor = f"inproc://zturbo-monitor-{next(_monitors)}"
        self.monitor(monitor, events)
        self._monitor = self.context.socket(zmq.PAIR)
        self._monitor.linger = 0
        self._monitor.setsockopt(zmq.RCVHWM, 0)  # a full queue would stop libzmq's I/O thread
        self._monitor.connect(monitor)
        self._address, self._heard = address, time.monotonic()
        self.connect(address)

    @property
    def changes(self) -> zmq.Socket[bytes]:
        """A socket to poll: when it can be read, :meth:`connected` may have something new to say."""
        assert self._monitor is not None
        return self._monitor

    def connected(self) -> bool:
        """Whether its connection stands, as far as libzmq has noticed."""
        while self._monitor is not None:
            if not has_more(self._monitor):
                break
            event, _ = self._monitor.recv_multipart(DONTWAIT)
            self._heard = time.monotonic()
            what = int.from_bytes(event[:2], sys.byteorder)
            self.stands = what == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self.connections += self.stands
            self.broken = self.connections > 0 and not self.stands
            if self.stands:
                self._denial, self._failures = "", 0
            if what == zmq.EVENT_CONNECTED:
                self._fd = int.from_bytes(event[2:6], sys.byteorder)
                self._opened = self._heard
            elif what == zmq.EVENT_DISCONNECTED:
                self._fd = None
            else:
                self._note_failure(what, int.from_bytes(event[2:6], sys.byteorder))
        if not self.stands and self._monitor is not None and time.monotonic() > self._heard + GIVEN_UP:
            self._connect_anew()
        return self.stands

    def _note_failure(self, what: int, code: int) -> None:
        """A handshake may have failed: note why, if that is a matter of keys."""
        if what == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._denial = REVOKED
        elif (
            what == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and code == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
        ):
            self._denial = NO_KEYS_THERE if self.secured else NO_KEYS_HERE
        elif what in (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
            if self.secured and self._heard - self._opened < AT_ONCE:
                self._failures += 1
                if self._failures >= FAILURES:
                    self._denial = OTHER_NETWORK

    @property
    def denial(self) -> str:
        """Why the other end does not let this process in, for want of a right key, as the end of a sentence.
        Empty if it does, or if that is not known, as far as :meth:`connected` has noticed."""
        return self._denial

    @property
    def is_final(self) -> bool:
        """Whether to try again cannot help: the key was refused as such, or nothing ever worked here."""
        return bool(self._denial) and (self._denial == REVOKED or not self.connections)

    def _connect_anew(self) -> None:
        if self.poll(0):  # messages that have arrived are read first, since their pipe ends now
            return
        self._heard = time.monotonic()
        with contextlib.suppress(zmq.ZMQError):  # libzmq has given it up
            self.disconnect(self._address)
        self.connect(self._address)

    def connection(self) -> int | None:
        """The descriptor of its connection, as far as libzmq has noticed; None if it has none."""
        self.connected()
        return self._fd

    def close(self, linger: int | None = None) -> None:
        """Close it and its monitor."""
        monitor, self._monitor = self._monitor, None
        self._fd = None
        if monitor is not None and not self.closed:
            self.disable_monitor()
            monitor.close()
        super().close(linger)


def has_more(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message can be read. That takes a third of the time of an exception that tells of none, and
    makes no enums, as the question for a socket's events does."""
    return bool(zmq_poll([(socket, _POLLIN)], 0))


def send_frames(socket: zmq.Socket[bytes], frames: Sequence[Any]) -> None:
    """Send a message without waiting.

    It takes a third of the time of ``send_multipart``, which joins flags of an enum, and looks at each frame.

    Args:
        socket: where to send it.
        frames: at least one; all have the buffer interface.

    Raises:
        zmq.Again: the socket cannot take it now, or is a :class:`Dealer` without a connection.
        zmq.ZMQError: it cannot be sent.
    """
    if isinstance(socket, Dealer) and not socket.connected():
        raise zmq.Again
    send, last = zmq.backend.Socket.send, len(frames) - 1
    for i, frame in enumerate(frames):
        size = len(frame) if type(frame) is bytes else memoryview(frame).nbytes
        send(socket, frame, DONTWAIT | SNDMORE if i < last else DONTWAIT, size <= ZERO_COPY)


def make(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    *,
    bind: str | None = None,
    connect: str | None = None,
    identity: bytes | None = None,
    security: Security | None = None,
    server: str | None = None,
    domain: str = "",
    arrivals: Arrivals | None = None,
    longest: int = 2 * MAX_MESSAGE,
) -> zmq.Socket[bytes]:
    """A socket with the options that all sockets of zturbo have.

    Args:
        context: zmq context.
        kind: ``zmq.PUSH`` and so on.
        bind: address to bind, if any.
        connect: address to connect to, if any.
        identity: routing id, for a DEALER.
        security: the keys of this process, if there are keys. Sockets over TCP use them. An ipc socket does
            not: its folder is this user's alone.
        server: public key of the process to connect to; None for the broker's.
        domain: for a socket that binds: which keys the gate of this context lets in.
        arrivals: watches its connections over TCP. The socket's owner reads with it, and calls its ``look``.
        longest: bytes that one message to it may have, all frames together.

    Raises:
        StartError: the address cannot be bound or connected to, or is too long, or no descriptors are left.
            It says why and what to do.
    """
    for address in (bind, connect):
        if address is not None:
            check_length(address)
    check_room()
    try:
        socket = context.socket(kind, Dealer) if kind == zmq.DEALER else context.socket(kind)
    except zmq.ZMQError as error:  # of the context's own limit
        most = context.get(zmq.MAX_SOCKETS)
        text = f"this process has no room for a connection ({error.strerror}; it has {most} sockets at most)"
        raise StartError(f"{text}: raise its limit with 'ulimit -n'") from None
    if isinstance(socket, Dealer):
        socket.secured = security is not None
    socket.linger = 0
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
    takes = kind != zmq.PUSH
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER if takes else 1)
    socket.setsockopt(zmq.MAXMSGSIZE, min(longest, MAX_MESSAGE) if takes else TAKES_NOTHING)
    if any(address is not None and address.startswith("tcp://[") for address in (bind, connect)):
        socket.setsockopt(zmq.IPV6, 1)  # for these alone: with it, a host name means its IPv6 address
    if not takes:
        socket.setsockopt(zmq.IMMEDIATE, 1)
    far = any(address is not None and _leaves_host(address) for address in (bind, connect))
    if far:
        socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)
        socket.setsockopt(zmq.HEARTBEAT_TTL, 20_000)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE)
    if bind is not None:
        socket.setsockopt(zmq.BACKLOG, BACKLOG)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_FAR if far else RECONNECT_NEAR)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    if identity is not None:
        socket.setsockopt(zmq.IDENTITY, identity)
    if security is not None and (bind or connect or "").startswith("tcp:"):
        _secure(socket, security, security.broker if server is None else server, domain, binds=bool(bind))
    if bind is not None:
        if bind.startswith("ipc:") and listens(bind):  # libzmq would take the path over, without an error
            socket.close()
            raise StartError(_IN_USE.format(bind))
        if arrivals is not None and bind.startswith("tcp:"):
            arrivals.watch(socket, longest, secured=security is not None)
        try:
            socket.bind(bind)
        except zmq.ZMQError as error:
            if arrivals is not None:
                arrivals.forget(socket)
            socket.close()
            if error.errno == zmq.EADDRINUSE:
                raise StartError(_IN_USE.format(bind)) from None
            from zturbo.runtime.net.binds import bind_failure  # it imports much, and only this needs it

            raise StartError(bind_failure(bind, error.errno)) from None
        if bind.startswith("ipc://") and not bind.startswith("ipc://@"):
            os.chmod(bind[6:], 0o600)  # whatever the umask is, and whoever may enter its folder
    if connect is not None:
        try:
            socket.follow(connect) if isinstance(socket, Dealer) else socket.connect(connect)
        except zmq.ZMQError as error:
            socket.close()
            raise StartError(f"cannot connect to {connect}: {error.strerror}") from None
        if arrivals is not None and isinstance(socket, Dealer):
            arrivals.follow(socket, longest)
        elif arrivals is not None:
            arrivals.expect_nothing(connect)
    return socket


def _secure(socket: zmq.Socket[bytes], keys: Security, server: str, domain: str, *, binds: bool) -> None:
    """Let a socket use CURVE, and let in those alone whom the gate admits. Without a gate that is nobody."""
    socket.curve_publickey = keys.public.encode()
    socket.curve_secretkey = keys.secret.encode()
    if binds:
        socket.curve_server = True
        socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    elif len(server) == 40:
        socket.curve_serverkey = server.encode()
    else:
        socket.close()
        raise StartError("the process to connect to has no key: it was started without --keys")


def _leaves_host(address: str) -> bool:
    """Whether connections at this address may go to other hosts.

    Within a host the kernel closes the connections of a process that ends. A heartbeat would tell nothing
    more, and each connection's would wake both ends some times a second.
    """
    return address.startswith("tcp:") and not is_loopback(address)
