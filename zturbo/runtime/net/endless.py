"""Messages without an end: this process cuts a connection whose message becomes too large.

A message may have many frames, and ZeroMQ delivers it when its last frame has come. Until then ZeroMQ keeps
the frames in memory, where no code of ours sees them. It limits the size of a frame, not the number of
frames. So a stranger may send frames for ever. An empty frame takes 2 bytes on the wire and 64 in memory.

But the kernel counts the bytes that each TCP connection has brought, and ZeroMQ tells for each message which
connection brought it. So this process knows how many bytes a connection has brought since its last whole
message. It shuts the connection down in two cases: if these are more bytes than a message may have, or if
they come in tiny frames while this process grows. Then ZeroMQ frees the frames. A correct peer connects anew,
and its links go on.

This process watches the connections that others make to it, and those that it makes itself. At the other end
of one of its own, a stranger may claim to be a member, or may have the port of a member that has ended. A
PUSH socket takes no messages, and ZeroMQ keeps the frames that the peer sends to it all the same.

Sockets of this host's own user (``ipc://``) are not watched: they lie in a folder that is the user's alone.
"""

from __future__ import annotations

import _socket as socket  # all that is used of socket, whose import takes ten times as long
import contextlib
import ipaddress
import itertools
import logging
import os
import resource
import select
import stat
import struct
import sys
from importlib import import_module
from typing import Protocol
from urllib.parse import urlsplit

import zmq

from zturbo.runtime.net.audit import Audit
from zturbo.runtime.net.crowd import Bounds, Crowd
from zturbo.runtime.net.limits import descriptors
from zturbo.wire.messages import MAX_FRAMES

__all__ = ["TAKES_NOTHING", "Arrivals", "address_of", "resident", "trim_heap"]

log = logging.getLogger("zturbo")

LOOK_EVERY, HURRY = 1.25, 0.1
"""Seconds between two looks at the connections: as a rule, and while one of them has brought much."""

EARLY = 0.5
"""Seconds by which a look may be early, where its process is awake for something else: a look alone need not
wake an idle process that has something to do each second."""

TRIMS = 30
"""After a cut, memory is given back at so many looks: ZeroMQ takes some seconds to free very many frames."""

KEYLESS = "a connection that ended before it showed a key of this network (no keys, or another network's)"

MUCH = 1 << 20
"""Bytes that any unfinished message may have; beyond them a connection is looked at more often."""

GROWN = 256 << 20
"""While a message arrives, this process may grow by so many bytes and twice the message's size."""

IDLE = 64
"""Bytes a second that a connection may bring without a message: they may be heartbeats."""

TAKES_NOTHING = 1 << 10
"""Most bytes of a frame that is sent to a socket which takes no messages; a handshake needs less."""

TINY = 16
"""Most bytes of a tiny frame: it takes many times as much memory as bytes on the wire."""

PEEK = 4096
"""Bytes of the kernel's buffer that are read, and left there, to see how large the frames are."""

PEEK_WAIT = 2
"""Milliseconds to wait for such bytes, since ZeroMQ takes them from the buffer too."""

UNCLEAR = 50
"""Looks, one after another, that find too few bytes there. Then the growth of this process alone decides."""

_DONTWAIT = int(zmq.DONTWAIT)
_COUNTS = struct.Struct("=QQ")
_COUNTS_AT = 120
"""Where ``tcpi_bytes_acked`` and ``tcpi_bytes_received`` stand in Linux's ``struct tcp_info``."""

SHAKEN, SHAKEN_SECURED = 80, 260
"""Bytes that a connection has brought at the end of its handshake at least: the greeting has 64, a READY 25
or more. And those that one with keys has taken: a greeting, a WELCOME of 170, a READY of 60 or more."""


_addresses = itertools.count()
"""Numbers for the addresses of monitors, of which no two may be alike."""


class _Connection:
    __slots__ = ("base", "heard", "inode", "longest", "rss", "since", "unclear")

    def __init__(self, inode: int, longest: int, now: float) -> None:
        self.inode = inode
        self.longest = longest
        self.heard = True
        """Whether it has brought a whole message since the last look."""
        self.base = 0
        """Bytes that it had brought by then."""
        self.rss = 0
        self.since = now
        self.unclear = 0

    def heard_of(self, got: int, rss: int, now: float) -> None:
        """A message has ended: count bytes from here."""
        self.heard, self.base, self.rss, self.since, self.unclear = False, got, rss, now, 0

    def is_endless(self, fd: int, more: float, rss: int) -> bool:
        """Whether the bytes since the last whole message cannot be part of a correct one.

        That this process has grown proves little: its own code may have done that.
        """
        if more > self.longest:
            return True
        if rss - self.rss <= GROWN + 2 * more:
            return False
        tiny = _in_tiny_frames(fd)
        if tiny is None:
            self.unclear += 1
            return self.unclear > UNCLEAR
        if not tiny:
            self.rss, self.unclear = rss, 0
        return tiny


class Connects(Protocol):
    """A socket with one connection, which it follows itself."""

    def connection(self) -> int | None:
        """The descriptor of its connection, if it has one."""


class Arrivals:
    """Watches how much the connections of some sockets bring.

    Args:
        audit: told of connections to secured sockets that end before they have shown a key, and of those
            that are ended since there are too many; None for nobody.
        bounds: how many connections others may make to this process; None for as many as it has descriptors
            for.
    """

    def __init__(self, audit: Audit | None = None, bounds: Bounds | None = None) -> None:
        self._audit = audit
        self._crowd = Crowd(bounds or Bounds.of(descriptors()), _has_shaken, self._has_spoken)
        self._monitors: list[tuple[zmq.Socket[bytes], zmq.Socket[bytes], int, bool]] = []
        self._unshaken: dict[zmq.Socket[bytes], bool] = {}
        """Monitors that have just told of a handshake that failed -> whether it had no right key. Else the
        connection ended, or was too slow."""
        self._followed: dict[Connects, int] = {}
        self._peers: dict[tuple[str, int] | None, int] = {}
        """Address and port that sockets which take no messages have connected to -> how many sockets."""
        self._early: set[int] = set()
        """Descriptors that a whole message has come of since the last look, and that were not known then."""
        self._others: dict[int, int] = {}
        """Descriptors that are not connections to these addresses -> their inodes."""
        self._connections: dict[int, _Connection] = {}
        self._look_at = 0.0
        self._calm = False
        """Whether the next look may be early."""
        self._told_at = float("-inf")
        self._trims = 0
        """Looks at which memory is given back, after ZeroMQ has let go of frames."""
        self.cut = 0
        """Connections that were shut down."""

    def watch(self, bound: zmq.Socket[bytes], longest: int, *, secured: bool = False) -> None:
        """Watch a socket. Call it before the socket is bound.

        Args:
            bound: the socket.
            longest: bytes that one message to it may have, all frames together.
            secured: whether its connections need keys.
        """
        import_module("ctypes")  # it takes a descriptor, and is needed when there may be none left
        address = f"inproc://zturbo-arrivals-{next(_addresses)}"
        events = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
        if secured and self._audit is not None:
            events |= zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        bound.monitor(address, events)
        monitor = bound.context.socket(zmq.PAIR)
        monitor.linger = 0
        monitor.setsockopt(zmq.RCVHWM, 0)  # a full queue would stop libzmq's I/O thread
        monitor.connect(address)
        self._monitors.append((bound, monitor, longest, secured))

    @property
    def changes(self) -> list[zmq.Socket[bytes]]:
        """Sockets to poll: when one can be read, connections were made or have ended, and :meth:`take` is
        due."""
        return [monitor for _, monitor, _, _ in self._monitors]

    @property
    def standing(self) -> int:
        """How many connections others have made to this process."""
        return len(self._crowd)

    def take(self, now: float) -> None:
        """Take note of connections that were made or have ended. End some of them, if they are too many."""
        self._take_events(now)
        for fd, why in self._crowd.surplus(now):
            known = self._connections.pop(fd, None)
            where = None if known is None or _inode(fd) != known.inode else _end(fd)
            if where is not None and self._audit is not None:
                self._audit.note(why, where)

    def follow(self, connecting: Connects, longest: int) -> None:
        """Watch a socket that connects, and that knows its connection.

        Args:
            connecting: the socket.
            longest: bytes that one message to it may have, all frames together.
        """
        self._followed[connecting] = longest

    def unfollow(self, connecting: Connects) -> None:
        """Stop watching such a socket, since it is about to be closed."""
        self._followed.pop(connecting, None)

    def expect_nothing(self, endpoint: str) -> None:
        """Watch a socket that takes no messages, and connects to this endpoint with a numeric address."""
        if (where := address_of(endpoint)) is not None:
            self._peers[where] = self._peers.get(where, 0) + 1
            self._others.clear()

    def let_go(self, endpoint: str) -> None:
        """Such a socket to this endpoint was closed."""
        if (where := address_of(endpoint)) is not None and self._peers.get(where):
            self._peers[where] -= 1
            if not self._peers[where]:
                del self._peers[where]

    def receive(self, source: zmq.Socket[bytes]) -> list[zmq.Frame]:
        """The next message. Of one with too many frames it returns so many that the reader refuses it.

        Raises:
            zmq.Again: there is none.
        """
        frame = source.recv(_DONTWAIT, copy=False)
        frames = [frame]
        while frame.more:
            frame = source.recv(_DONTWAIT, copy=False)
            if len(frames) <= MAX_FRAMES + 1:
                frames.append(frame)
        self.heard(frame)
        return frames

    def heard(self, frame: zmq.Frame) -> None:
        """Note that a whole message has come; this is one of its frames (at a ROUTER, not the first)."""
        try:
            fd = frame.get(zmq.SRCFD)
        except zmq.ZMQError:
            return
        connection = self._connections.get(fd)
        if connection is not None:
            connection.heard = True
        else:
            self._early.add(fd)

    def look(self, now: float) -> float:
        """Shut down connections with messages without an end. Returns when to look again at the latest."""
        if now < self._look_at - (EARLY if self._calm else 0.0):
            return self._look_at
        rss = resident()
        self.take(now)
        self._find_connections(now)
        wait = LOOK_EVERY
        if self._trims:
            self._trims -= 1
            trim_heap()
            wait = HURRY
        for fd, connection in list(self._connections.items()):
            got = _received(fd, connection.inode)
            if got is None:
                del self._connections[fd]
                continue
            if connection.heard:
                connection.heard_of(got, rss, now)
                continue
            more = got - connection.base - IDLE * (now - connection.since)
            if more <= MUCH:
                if more <= 0:
                    connection.rss = rss
                continue
            wait = HURRY
            if connection.is_endless(fd, more, rss):
                self._shut(fd, int(more), now)
        self._look_at, self._calm = now + wait, wait == LOOK_EVERY
        return self._look_at

    def _has_spoken(self, fd: int) -> bool:
        """Whether a connection has ever brought a whole message."""
        known = self._connections.get(fd)
        return (known is not None and (known.heard or known.base > 0)) or fd in self._early

    def _take_events(self, now: float) -> None:
        rss = -1
        for _, monitor, longest, secured in self._monitors:
            while True:
                # As zmq.utils.monitor reads it; that module imports asyncio, which most processes do without.
                try:
                    event, fd = struct.unpack("=hi", monitor.recv_multipart(_DONTWAIT)[0])
                except zmq.Again:
                    break
                if event in (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
                    # libzmq tells next which connection this was
                    self._unshaken[monitor] = event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                    continue
                if event != zmq.EVENT_ACCEPTED:
                    self._connections.pop(fd, None)
                    address = self._crowd.went(fd)
                    keyless = self._unshaken.pop(monitor, None)
                    if keyless is not None and self._audit is not None:
                        if keyless:
                            self._audit.note(KEYLESS, address)
                        else:
                            self._audit.note_end(address)
                    continue
                with contextlib.suppress(OSError):  # it is gone already
                    found = self._connections[fd] = _Connection(os.fstat(fd).st_ino, longest, now)
                    found.heard = fd in self._early
                    found.rss = rss = resident() if rss < 0 else rss
                    self._crowd.came(fd, (_peer(fd) or ("", 0))[0], now, secured=secured)
        self._early.clear()

    def _find_connections(self, now: float) -> None:
        """Find the connections that this process has made itself."""
        for dealer, longest in self._followed.items():
            fd = dealer.connection()
            inode = None if fd is None else _inode(fd)
            if fd is not None and inode is not None:
                known = self._connections.get(fd)
                if known is None or known.inode != inode:
                    self._connections[fd] = _Connection(inode, longest, now)
        if not self._peers:
            return
        for name in _descriptors():
            fd = int(name)
            inode = _inode(fd)
            if inode is None or self._others.get(fd) == inode:
                continue
            known = self._connections.get(fd)
            if known is not None and known.inode == inode:
                continue
            where = _peer(fd)
            if where is None or where in self._peers:
                self._others.pop(fd, None)
            else:
                self._others[fd] = inode
            if where in self._peers:
                found = self._connections[fd] = _Connection(inode, MUCH, now)
                found.heard = False  # it is not to bring anything

    def _shut(self, fd: int, more: int, now: float) -> None:
        del self._connections[fd]
        self.cut += 1
        where = _end(fd)
        if where is None:
            return
        if now >= self._told_at + 10.0:
            self._told_at = now
            log.warning(
                "cut off a connection from %s: %d bytes came of a message without an end", where, more
            )
        self._trims = TRIMS

    def forget(self, bound: zmq.Socket[bytes] | None = None) -> None:
        """Stop watching this bound socket, or all sockets. Call it before they are closed."""
        if bound is None:
            self._followed.clear()
            self._peers.clear()
        for watched in [entry for entry in self._monitors if bound is None or entry[0] is bound]:
            self._monitors.remove(watched)
            watched[0].disable_monitor()
            watched[1].close()
            self._unshaken.pop(watched[1], None)


def _received(fd: int, inode: int) -> int | None:
    """Bytes that a connection has brought; None if it is not over TCP, or is gone."""
    counts = _counts(fd) if _inode(fd) == inode else None
    return None if counts is None else counts[1]


def _has_shaken(fd: int, secured: bool) -> bool | None:
    """Whether a connection has shaken hands; None if it is gone."""
    counts = _counts(fd)
    if counts is None:
        return None
    return counts[0] >= SHAKEN_SECURED if secured else counts[1] >= SHAKEN


def _end(fd: int) -> str | None:
    """Shut a connection down, so that ZeroMQ closes it. Returns the address that it is from, if it stands."""
    peer = socket.socket(fileno=fd)
    try:
        where = str(peer.getpeername()[0])
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        return None
    finally:
        peer.detach()
    return where


def _counts(fd: int) -> tuple[int, int] | None:
    """Bytes that a connection has taken, and brought; None if it is not over TCP, or is gone."""
    try:
        peer = socket.socket(fileno=fd)
        try:
            if peer.family not in (socket.AF_INET, socket.AF_INET6):
                return None
            info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        finally:
            peer.detach()
    except OSError:
        return None
    return _COUNTS.unpack_from(info, _COUNTS_AT) if len(info) >= _COUNTS_AT + _COUNTS.size else None


def trim_heap() -> None:
    """Give the memory back that the C library keeps for later use."""
    import ctypes  # each process imports this module, and few need this

    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)


def resident() -> int:
    """Bytes of memory that this process has; its maximum so far if no descriptor is left to ask with."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _descriptors() -> list[str]:
    try:
        return os.listdir("/proc/self/fd")
    except OSError:  # no descriptor is left to look with
        return []


def _inode(fd: int) -> int | None:
    """The inode of a socket; None if the descriptor is gone, or is no socket."""
    try:
        about = os.fstat(fd)
    except OSError:
        return None
    return about.st_ino if stat.S_ISSOCK(about.st_mode) else None


def address_of(endpoint: str) -> tuple[str, int] | None:
    """Address and port of ``tcp://IP:PORT``, as the kernel tells them of a connection to it."""
    parts = urlsplit(endpoint)
    if parts.scheme != "tcp" or not parts.hostname or not parts.port:
        return None
    return _plain(parts.hostname), parts.port


def _plain(host: str) -> str:
    """The same text for all spellings of an address."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_unspecified:  # a connection to it reaches this host
        return "127.0.0.1" if ip.version == 4 else "::1"
    return str(ip)


def _peer(fd: int) -> tuple[str, int] | None:
    """Address and port that a socket is connected to; None while it is not, ``("", 0)`` if not over TCP.

    The descriptor may belong to the user's code, so no ``socket.socket`` is made of it: that would make it
    non-blocking if a default timeout is set.
    """
    import ctypes  # each process imports this module, and few need this

    raw = ctypes.create_string_buffer(28)
    length = ctypes.c_uint32(len(raw))
    if ctypes.CDLL(None).getpeername(fd, raw, ctypes.byref(length)):
        return None
    family, port = int.from_bytes(raw.raw[:2], sys.byteorder), int.from_bytes(raw.raw[2:4], "big")
    if family == socket.AF_INET:
        return _plain(socket.inet_ntop(family, raw.raw[4:8])), port
    if family == socket.AF_INET6:
        return _plain(socket.inet_ntop(family, raw.raw[8:24])), port
    return "", 0


def _in_tiny_frames(fd: int) -> bool | None:
    """Whether a connection brings frames of hardly any bytes now; None if there are none to see."""
    try:
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        waiting.poll(PEEK_WAIT)
        peer = socket.socket(fileno=fd)
        try:
            peer.setblocking(False)  # as libzmq has it; else a default timeout would be waited for
            seen = peer.recv(PEEK, socket.MSG_PEEK)
        finally:
            peer.detach()
    except OSError:
        return None
    if len(seen) < 8 * TINY:
        return None
    return any(_is_chain(seen, start) for start in range(2 * TINY))


def _is_chain(seen: bytes, start: int) -> bool:
    """Whether from here on there are only tiny frames, each with more to come."""
    at = start
    while at + 1 < len(seen):
        if seen[at] != 1 or seen[at + 1] > TINY:
            return False
        at += 2 + seen[at + 1]
    return True
