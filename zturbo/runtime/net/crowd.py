"""How many connections a process takes: beyond that it ends some, so that good ones have room.

Each connection takes a descriptor. Who opens connections and says nothing, or says it byte by byte, takes
descriptors until none are left. Then ZeroMQ accepts nobody, no file can be opened, and a revoked key is not
noticed. ZeroMQ ends a handshake after some seconds. Until then such connections are many, and new ones come.

So there are two bounds. Of connections that are *half open*, which have not shown yet that they can shake
hands, the oldest is ended first: a good one takes milliseconds. Of all *connections*, the oldest that has
never said anything is ended first, and if all have, the newest: those that are used go on. In all cases, the
address from which most come loses first. So a stranger at one address harms those at others least.

ZeroMQ does not tell which of its connections has shaken hands. But the kernel tells how many bytes each has
brought and taken. Without keys a connection brings a greeting and one message; ZeroMQ ends it at a byte that
is wrong. With keys a server sends its last message of the handshake to those alone whose key it lets in.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable

from zturbo.slotted import slotted

__all__ = ["CROWDED", "HALF_OPEN", "Bounds", "Crowd"]

HALF_OPEN = "too many connections at once that do not shake hands; the oldest were ended"
CROWDED = "more connections than this process takes ('connections' in [listen]); some were ended"

AT_MOST = 4096
"""Half-open connections that a process takes, however many descriptors it has."""

BATCH = 8
"""One of so many is ended at once: to choose them takes longer than to end them."""

YOUNG = 4.0
"""Seconds after which ZeroMQ has ended a connection that is still half open."""


@slotted(frozen=True)
class Bounds:
    """How many connections a process takes."""

    half_open: int
    connections: int

    @classmethod
    def of(cls, descriptors: int, half_open: int | None = None, connections: int | None = None) -> Bounds:
        """Bounds for so many descriptors.

        Args:
            descriptors: that the process may have. Of all connections, five eighths as many are taken, and
                of half-open ones a quarter as many, if nothing else is said.
            half_open: the operator's number; a higher one than that does not count.
            connections: the operator's number, likewise.
        """
        most, all_most = max(16, min(AT_MOST, descriptors // 4)), max(16, descriptors * 5 // 8)
        return cls(min(half_open or most, most), min(connections or all_most, all_most))


class _One:
    __slots__ = ("address", "born", "fd", "peer", "secured")

    def __init__(self, fd: int, peer: str, born: float, secured: bool) -> None:
        self.fd = fd
        self.peer = peer
        self.address = _origin(peer)
        self.born = born
        self.secured = secured


class Crowd:
    """The connections that others have made to this process.

    Args:
        bounds: how many it takes.
        has_shaken: whether the connection with this descriptor has shaken hands, given whether it needs a
            key; None if it is gone.
        has_spoken: whether it has ever brought a whole message.
    """

    def __init__(
        self,
        bounds: Bounds,
        has_shaken: Callable[[int, bool], bool | None],
        has_spoken: Callable[[int], bool],
    ) -> None:
        self.bounds = bounds
        self._has_shaken = has_shaken
        self._has_spoken = has_spoken
        self._all: dict[int, _One] = {}
        self._new: dict[int, _One] = {}
        """Those that may be half open; of each, that is looked at when they are too many."""

    def __len__(self) -> int:
        return len(self._all)

    def came(self, fd: int, address: str, now: float, *, secured: bool) -> None:
        """A connection was accepted.

        Args:
            fd: its descriptor.
            address: IP address that it is from.
            now: monotonic seconds.
            secured: whether it needs a key.
        """
        self.went(fd)
        one = _One(fd, address, now, secured)
        self._all[fd] = self._new[fd] = one

    def went(self, fd: int) -> str:
        """It is gone. Returns the address that it was from; empty if that is not known."""
        self._new.pop(fd, None)
        one = self._all.pop(fd, None)
        return "" if one is None else one.peer

    def surplus(self, now: float) -> list[tuple[int, str]]:
        """Connections to end now, which are forgotten: descriptor and why."""
        out: list[tuple[int, str]] = []
        if len(self._new) > self.bounds.half_open:
            self._look(now)
        if len(self._new) > self.bounds.half_open:
            keep = self.bounds.half_open - self.bounds.half_open // BATCH
            out += [(one.fd, HALF_OPEN) for one in _most_crowded(self._new.values(), len(self._new) - keep)]
        for fd, _ in out:
            self.went(fd)
        if len(self._all) > self.bounds.connections:
            more = len(self._all) - self.bounds.connections
            silent = [one for one in self._all.values() if not self._has_spoken(one.fd)]
            found = _most_crowded(silent, max(more, len(silent) // BATCH))
            if len(found) < more:
                spoken = [one for one in reversed(self._all.values()) if self._has_spoken(one.fd)]
                found += _most_crowded(spoken, more - len(found))
            out += [(one.fd, CROWDED) for one in found]
            for one in found:
                self.went(one.fd)
        return out

    def _look(self, now: float) -> None:
        """Forget of the new ones those that are half open no more."""
        for fd, one in list(self._new.items()):
            shaken = self._has_shaken(fd, one.secured)
            if shaken is None:
                self.went(fd)
            elif shaken or now > one.born + YOUNG:
                del self._new[fd]


def _most_crowded(ones: Iterable[_One], count: int) -> list[_One]:
    """So many of these, in their order, so that addresses with few of them lose none before the others."""
    ones = list(ones)
    if not ones:
        return []
    crowds = Counter(one.address for one in ones)
    # How many of each address may stay: the largest number with which enough of them go.
    low, high = 0, max(crowds.values())
    while low < high:
        middle = (low + high + 1) // 2
        if sum(max(0, size - middle) for size in crowds.values()) >= count:
            low = middle
        else:
            high = middle - 1
    out: list[_One] = []
    for one in ones:
        if len(out) < count and crowds[one.address] > low:
            crowds[one.address] -= 1
            out.append(one)
    return out


def _origin(address: str) -> str:
    """What counts as one address: of IPv6 a network, since a host has as many addresses there as it likes."""
    if ":" not in address:
        return address
    whole = ipaddress.ip_address(address.partition("%")[0])
    if whole.version == 6 and whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return str(ipaddress.ip_network((int(whole) >> 64 << 64, 64)))
