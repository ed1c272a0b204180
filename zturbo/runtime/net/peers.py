"""One PUSH per peer, and the inbox that peers push to.

A peer on this host is reached over ipc if that works. Processes whose hosts have one name may yet have no
files in common: each container, and each service with a ``/tmp`` of its own, has its own. So ipc is tried
first: the path of a peer's socket has random numbers in it, and what listens there is the peer. Else the
peer is reached over TCP. If it has several addresses, all are tried, and the first that answers is used.

A send never blocks. Messages that a connection cannot take at the moment wait here, in order; credit bounds
them. When a peer leaves the view, its socket is closed, and the messages that wait for it are dropped.

The socket of a peer to which nothing was sent for a while is closed too, and the next message opens one. So a
process has sockets to those peers alone with which it has to do at the time. A message that went down with a
socket is no other case than one that went down with a connection: links find that out, and send again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

import zmq

from zturbo.checks import is_loopback
from zturbo.errors import StartError
from zturbo.runtime.net.endless import Arrivals
from zturbo.runtime.net.gate import INBOX, Gate
from zturbo.runtime.net.host import listens, with_zone
from zturbo.runtime.net.keys import Security
from zturbo.runtime.net.listening import Listening
from zturbo.runtime.net.sockets import MAX_MESSAGE, has_more, make, send_frames
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Buffer

__all__ = ["IDLE", "Inbox", "Peers", "user_of"]

log = logging.getLogger("zturbo")

VIEW = 1 << 16
"""Bytes from which on a received frame is not copied, and its buffer is used."""

GUESTS = 256
"""Most processes that are reached though they are in no view."""

GUEST = 10.0
"""Seconds for which such a process is reached."""

TRACK = 64
"""Messages taken from the inbox in one round at most, so that other events get their turn."""


ADDRESSES = 8
"""Addresses of one peer that are tried at a time at most."""

IDLE = 10.0
"""Seconds without a message to a peer, after which its socket is closed."""

TRY_OTHERS = 3.0
"""Seconds that messages wait for a connection, after which the peer's other addresses are tried too."""


class _Peer:
    """A peer, and the ways to it: one socket for each of its addresses, until one of them takes a message."""

    __slots__ = ("idle_at", "stuck_at", "used", "waiting", "ways")

    def __init__(self) -> None:
        self.ways: dict[str, zmq.Socket[bytes]] = {}
        """Address -> its socket."""
        self.waiting: deque[list[Buffer]] = deque()
        self.stuck_at: float | None = None
        """Since when messages wait."""
        self.used = True
        """Whether anything was sent since the last look."""
        self.idle_at = 0.0
        """When it was last seen that something had been sent."""


class Peers:
    """The PUSH sockets of one process.

    Args:
        context: zmq context.
        host: name of this process's host.
        arrivals: watches their connections.
        security: the keys of this process, if there are keys.
        gate: lets in those whom the view has, and others for a while; None without keys.
        zone: the card on which link-local addresses of others are reached; empty if there is none.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        host: str,
        arrivals: Arrivals,
        security: Security | None = None,
        gate: Gate | None = None,
        zone: str = "",
    ) -> None:
        self._gate = gate
        self._zone = zone
        self.forged = 0
        """Messages that were dropped because they came under another key than their sender's."""
        self._context = context
        self._host = host
        self._arrivals = arrivals
        self._security = security
        self._peers: dict[bytes, _Peer] = {}
        self._members: dict[bytes, Member] = {}
        self._guests: dict[bytes, tuple[Member, float]] = {}
        """Process that is in no view (yet) -> itself, and until when it is reached."""
        self.stuck: set[bytes] = set()
        """Peers that messages wait for."""
        self.gone: list[zmq.Socket[bytes]] = []
        """Sockets of peers that left. The loop closes them when it does not poll them any more."""
        self._short = False
        """Whether no descriptors were left for the last connection. That is told once."""
        self._admit()
        self.dropped = 0
        """Messages for a process outside the view, or without a connection to it."""

    def set_members(self, members: dict[bytes, Member]) -> None:
        """Take the present view; sockets of peers outside it are to be closed."""
        if members is not self._members:
            self._members = members
            self._part()

    def meet(self, members: Iterable[Member], now: float) -> None:
        """Reach these processes for a while too, though they are in no view yet."""
        for member in members:
            self._guests.pop(member.incarnation, None)
            self._guests[member.incarnation] = (member, now + GUEST)
        while len(self._guests) > GUESTS:
            del self._guests[next(iter(self._guests))]
        self._part()

    def look(self, now: float) -> None:
        """Part with processes that did not come into the view, and with those that nothing is sent to; try
        other addresses of silent ones."""
        for incarnation, peer in list(self._peers.items()):
            if peer.used:
                peer.used, peer.idle_at = False, now
            elif not peer.waiting and now - peer.idle_at >= IDLE:
                self._shut(incarnation)
                continue
            if incarnation not in self.stuck:
                peer.stuck_at = None
            elif peer.stuck_at is None:
                peer.stuck_at = now
            elif now - peer.stuck_at >= TRY_OTHERS and (member := self._member(incarnation)) is not None:
                self._connect(peer, self._addresses(member), member.key)
        if self._guests:
            self._guests = {inc: guest for inc, guest in self._guests.items() if guest[1] > now}
            self._part()

    def _admit(self) -> None:
        """Let in those processes whom this one may reach, and the broker."""
        if self._gate is not None and self._security is not None:
            keys = {member.key for member in self._members.values()} | {self._security.broker}
            keys |= {member.key for member, _ in self._guests.values()}
            self._gate.admit(INBOX, keys - {""}, waits=True, again=True)

    def may_speak(self, source: bytes, user: str | None) -> bool:
        """Whether a message may be in the name of this process, if it came under this key.

        Args:
            source: the incarnation that it names as its sender.
            user: the key of the connection; None if that was over ipc, which only this user can use.
        """
        if self._security is None or user is None:
            return True
        member = self._members.get(source)
        if member is None and source in self._guests:
            member, _ = self._guests[source]
        if member is not None and member.key == user:
            return True
        self.forged += 1
        return False

    def _part(self) -> None:
        """Let the sockets of all others be closed."""
        self._admit()
        for incarnation in [inc for inc in self._peers if inc not in self._members]:
            if incarnation in self._guests:
                continue
            self._shut(incarnation)

    def _shut(self, incarnation: bytes) -> None:
        """Let the sockets to a peer be closed, and drop what waits for it."""
        peer = self._peers.pop(incarnation)
        self.stuck.discard(incarnation)
        for address in list(peer.ways):
            self._leave(peer, address)
        peer.waiting.clear()

    def _leave(self, peer: _Peer, address: str) -> None:
        """Let the socket of one way be closed."""
        self.gone.append(peer.ways.pop(address))
        self._arrivals.let_go(address)

    def _member(self, incarnation: bytes) -> Member | None:
        if incarnation in self._members:
            return self._members[incarnation]
        return self._guests[incarnation][0] if incarnation in self._guests else None

    def _open(self, incarnation: bytes) -> _Peer | None:
        member = self._member(incarnation)
        if member is None or not (addresses := self._addresses(member)):
            return None
        peer = _Peer()
        if not self._connect(peer, addresses, member.key):
            return None
        self._peers[incarnation] = peer
        return peer

    def _connect(self, peer: _Peer, addresses: Iterable[str], key: str) -> bool:
        """Connect to these addresses of a peer too. Returns whether there is a socket to it now."""
        for address in addresses:
            if address in peer.ways:
                continue
            try:
                peer.ways[address] = make(
                    self._context,
                    zmq.PUSH,
                    connect=address,
                    security=self._security,
                    server=key,
                    arrivals=self._arrivals,
                )
            except StartError as error:  # no descriptors are left; links repeat their messages
                level = logging.DEBUG if self._short else logging.WARNING
                log.log(level, "no connection to %s: %s", address, error)
                self._short = True
            else:
                self._short = False
        return bool(peer.ways)

    def _addresses(self, member: Member) -> list[str]:
        """The addresses at which to try to reach a member; none if it has none for this host."""
        near = member.host == self._host
        shared = [end for end in member.endpoints if near and end.startswith("ipc:") and listens(end)]
        if shared:
            return shared[:1]
        tcp = [end for end in member.endpoints if end.startswith("tcp:") and (near or not is_loopback(end))]
        return [with_zone(end, self._zone) for end in tcp[:ADDRESSES]]

    def is_near(self, incarnation: bytes) -> bool:
        """Whether this peer is reached over ipc, so that its inbox is this user's alone."""
        peer = self._peers.get(incarnation) or self._open(incarnation)
        return peer is not None and next(iter(peer.ways)).startswith("ipc:")

    def send(self, incarnation: bytes, frames: list[Buffer]) -> None:
        """Send a message, or let it wait for its turn."""
        peer = self._peers.get(incarnation) or self._open(incarnation)
        if peer is None:
            self.dropped += 1
            return
        peer.used = True
        if peer.waiting or not self._try(peer, frames):
            peer.waiting.append(frames)
            self.stuck.add(incarnation)

    def _try(self, peer: _Peer, frames: list[Buffer]) -> bool:
        """Send a message over the first way that has a connection, and part with the others."""
        for address, socket in peer.ways.items():
            if _try(socket, frames):
                for other in [other for other in peer.ways if other != address]:
                    self._leave(peer, other)
                return True
        return False

    def flush(self) -> None:
        """Try again to send the messages that wait."""
        for incarnation in tuple(self.stuck):
            peer = self._peers.get(incarnation)
            while peer is not None and peer.waiting and self._try(peer, peer.waiting[0]):
                peer.waiting.popleft()
            if peer is None or not peer.waiting:
                self.stuck.discard(incarnation)

    def bury(self) -> None:
        """Close the sockets of peers that left."""
        for socket in self.gone:
            socket.close()
        self.gone.clear()

    @property
    def blocked(self) -> list[zmq.Socket[bytes]]:
        """Sockets that messages wait for."""
        return [socket for incarnation in self.stuck for socket in self._peers[incarnation].ways.values()]

    def close(self) -> None:
        """Close all."""
        self.bury()
        for peer in self._peers.values():
            for socket in peer.ways.values():
                socket.close()
        self._peers.clear()


def _try(socket: zmq.Socket[bytes], frames: list[Buffer]) -> bool:
    try:
        send_frames(socket, frames)
    except zmq.Again:
        return False
    return True


def user_of(frame: zmq.Frame) -> str:
    """The key that a frame from a secured socket came under; empty if libzmq does not tell."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


class Inbox:
    """The PULL sockets that peers push to.

    Args:
        context: zmq context.
        endpoints: addresses to bind; ``tcp://HOST:*`` takes a free port.
        arrivals: watches their connections.
        security: the keys of this process, if there are keys.
        longest: bytes that one message may have, all frames together.
        listening: where to listen beside these addresses; None for nowhere.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoints: list[str],
        arrivals: Arrivals,
        security: Security | None = None,
        longest: int = 2 * MAX_MESSAGE,
        listening: Listening | None = None,
    ) -> None:
        self._arrivals = arrivals
        self._secured: set[zmq.Socket[bytes]] = set()
        """Those whose connections have shown a key."""
        self.user: str | None = None
        """The key that the last received message came under; None over ipc, which only this user can use, and
        without keys."""
        self.sockets: list[zmq.Socket[bytes]] = []
        self.endpoints: list[str] = []

        def make_at(address: str) -> zmq.Socket[bytes]:
            made = make(
                context,
                zmq.PULL,
                bind=address,
                security=security,
                domain=INBOX,
                arrivals=arrivals,
                longest=longest,
            )
            if security is not None and address.startswith("tcp:"):
                self._secured.add(made)
            return made

        for endpoint in endpoints:
            socket = make_at(endpoint)
            self.sockets.append(socket)
            self.endpoints.append(socket.getsockopt_string(zmq.LAST_ENDPOINT))
        if listening is not None:
            bound = listening.bind(make_at)
            self.sockets += bound
            self.endpoints += listening.addresses(bound)

    def receive(self, socket: zmq.Socket[bytes]) -> Iterable[list[Buffer]]:
        """Take messages that have come, up to a round's share. :attr:`user` has the key of each."""
        secured = socket in self._secured
        self.user = None
        for _ in range(TRACK):
            try:
                frames = self._arrivals.receive(socket)
            except zmq.Again:
                return
            if secured:
                self.user = user_of(frames[-1])
            yield [frame.bytes if len(frame) < VIEW else frame.buffer for frame in frames]
            if not has_more(socket):
                return

    def close(self) -> None:
        """Close all."""
        for socket in self.sockets:
            socket.close()
