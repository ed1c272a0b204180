"""Messages without an end: connections that send more than one message may have are cut.

ZeroMQ hands a message over when its last frame has come. It keeps all frames before in memory, where no
code sees them. Its limits are on one frame, so a stranger may send frames for ever; an empty one is 2 bytes
on the wire and 64 in memory. But the kernel knows how much each TCP connection has brought, and each
message tells of which connection it came. So what a connection has brought since its last whole message is
known. If that is more than a message may have, or this process has grown by much more than that, the
connection is shut down, and ZeroMQ lets go of what it had. A correct peer connects anew, and its links go
on.

Sockets of this host's own user (``ipc://``) are not looked at: they lie in a folder that is the user's alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import resource
import socket
import struct

import zmq
from zmq.utils.monitor import recv_monitor_message

__all__ = ["Arrivals"]

log = logging.getLogger("zturbo")

LOOK_EVERY, HURRY = 1.0, 0.1
"""Seconds between two looks, and between two while a connection has brought much."""

MUCH = 1 << 20
"""Bytes of one message that are nothing special."""

GROWN = 256 << 20
"""Bytes by which the process may grow while a message arrives, beside twice its size."""

IDLE = 64
"""Bytes a second that are heartbeats."""

_RECEIVED = struct.Struct("=Q")
_RECEIVED_AT = 128
"""Where ``tcpi_bytes_received`` stands in Linux's ``struct tcp_info``."""


_addresses = itertools.count()
"""Numbers for the addresses of monitors: two at once must not have the same."""


class _Connection:
    __slots__ = ("base", "heard", "inode", "longest", "rss", "since")

    def __init__(self, inode: int, longest: int, now: float) -> None:
        self.inode = inode
        self.longest = longest
        self.heard = True
        """Whether a whole message has come of it since the last look."""
        self.base = 0
        """Bytes that it had brought by then."""
        self.rss = 0
        self.since = now


class Arrivals:
    """What the connections of some sockets have brought."""

    def __init__(self) -> None:
        self._monitors: list[tuple[zmq.Socket[bytes], zmq.Socket[bytes], int]] = []
        self._connections: dict[int, _Connection] = {}
        self._look_at = 0.0
        self._told_at = float("-inf")
        self.cut = 0
        """Connections that were shut down."""

    def watch(self, bound: zmq.Socket[bytes], longest: int) -> None:
        """Watch a socket. To be called before it is bound.

        Args:
            bound: the socket.
            longest: bytes that one message to it may have, all frames together.
        """
        address = f"inproc://zturbo-arrivals-{next(_addresses)}"
        bound.monitor(address, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED)
        monitor = bound.context.socket(zmq.PAIR)
        monitor.linger = 0
        monitor.setsockopt(zmq.RCVHWM, 0)  # a full queue would stop libzmq's I/O thread
        monitor.connect(address)
        self._monitors.append((bound, monitor, longest))

    def heard(self, frame: zmq.Frame) -> None:
        """A whole message has come, and this is one of its frames (of a ROUTER, not the first)."""
        try:
            connection = self._connections.get(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            return
        if connection is not None:
            connection.heard = True

    def look(self, now: float) -> float:
        """Shut down what is to be. Returns when to look again."""
        if now < self._look_at:
            return self._look_at
        self._take_events(now)
        rss = _resident()
        wait = LOOK_EVERY
        for fd, connection in list(self._connections.items()):
            got = _received(fd, connection.inode)
            if got is None:
                del self._connections[fd]
                continue
            if connection.heard:
                connection.heard, connection.base = False, got
                connection.rss, connection.since = rss, now
                continue
            more = got - connection.base - IDLE * (now - connection.since)
            if more <= MUCH:
                if more <= 0:
                    connection.rss = rss
                continue
            wait = HURRY
            if more > connection.longest or rss - connection.rss > GROWN + 2 * more:
                self._shut(fd, int(more), now)
        self._look_at = now + wait
        return self._look_at

    def _take_events(self, now: float) -> None:
        for _, monitor, longest in self._monitors:
            while monitor.poll(0):
                event = recv_monitor_message(monitor)
                fd = event["value"]
                if event["event"] != zmq.EVENT_ACCEPTED:
                    self._connections.pop(fd, None)
                    continue
                with contextlib.suppress(OSError):  # it is gone already
                    self._connections[fd] = _Connection(os.fstat(fd).st_ino, longest, now)

    def _shut(self, fd: int, more: int, now: float) -> None:
        del self._connections[fd]
        self.cut += 1
        peer = socket.socket(fileno=fd)
        try:
            where = str(peer.getpeername()[0])
            peer.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            peer.detach()
        if now >= self._told_at + 10.0:
            self._told_at = now
            log.warning(
                "cut off a connection from %s: %d bytes came of a message without an end", where, more
            )
        with contextlib.suppress(OSError, AttributeError):  # another C library keeps them for itself
            ctypes.CDLL(None).malloc_trim(0)

    def forget(self, bound: zmq.Socket[bytes] | None = None) -> None:
        """Watch this socket no more, or none: to be called before it is closed."""
        for watched in [entry for entry in self._monitors if bound is None or entry[0] is bound]:
            self._monitors.remove(watched)
            watched[0].disable_monitor()
            watched[1].close()


def _received(fd: int, inode: int) -> int | None:
    """Bytes that a connection has brought; None if it is none over TCP, or is gone."""
    try:
        if os.fstat(fd).st_ino != inode:
            return None
        peer = socket.socket(fileno=fd)
        try:
            if peer.family not in (socket.AF_INET, socket.AF_INET6):
                return None
            info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        finally:
            peer.detach()
    except OSError:
        return None
    return _RECEIVED.unpack_from(info, _RECEIVED_AT)[0] if len(info) >= _RECEIVED_AT + 8 else None


def _resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
