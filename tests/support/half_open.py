"""Connections that never become any: a stranger holds very many open at each port of a network.

    python -m tests.support.half_open SECONDS COUNT HOST:PORT...

Each of COUNT connections is of one of the kinds below, and each that is closed by the other end is made again
at once. Prints how many stand, once they do, and at the end how often one was closed.
"""

from __future__ import annotations

import heapq
import json
import os
import resource
import selectors
import socket
import sys
import time
from collections.abc import Sequence

__all__ = ["KINDS", "Stranger"]

KINDS = ("silent", "slow", "stopped", "keyed", "inside")
"""What a connection does: it says nothing; sends a greeting byte by byte; sends a greeting and stops; does
that as one with a key, and begins a message that it sends byte by byte; or shakes hands, without a key, and
says no more."""

PACE = 0.4
"""Seconds between two bytes of a slow one."""

BEGUN = 20
"""Connections that are on their way at once: more would only wait in the kernel's queue."""

_SIGNATURE = b"\xff" + bytes(8) + b"\x7f\x03\x00"
_READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"


def _greeting(mechanism: bytes) -> bytes:
    return _SIGNATURE + mechanism.ljust(20, b"\0") + bytes(32)


_SAYS = {
    "silent": (b"", b""),
    "slow": (b"", _greeting(b"NULL")),
    "stopped": (_greeting(b"NULL"), b""),
    "keyed": (_greeting(b"CURVE") + b"\x04\xc8\x05HELLO\x01\x00", bytes(190)),
    "inside": (_greeting(b"NULL") + b"\x04" + bytes([len(_READY)]) + _READY, b""),
}
"""Kind -> what it sends at once, and what byte by byte."""


class _One:
    __slots__ = ("at", "kind", "left", "raw", "stands", "where")

    def __init__(self, where: tuple[str, int], kind: str) -> None:
        self.where = where
        self.kind = kind
        self.left = b""
        self.stands = False
        self.at = 0.0
        self.raw: socket.socket | None = None


class Stranger:
    """The connections.

    Args:
        ends: hosts and ports.
        count: how many connections, over all ends.
        kinds: some of :data:`KINDS`.
    """

    def __init__(self, ends: Sequence[tuple[str, int]], count: int, kinds: Sequence[str] = KINDS) -> None:
        self._selector = selectors.DefaultSelector()
        self._idle = [_One(ends[i % len(ends)], kinds[i // len(ends) % len(kinds)]) for i in range(count)]
        self._begun = 0
        self._slow: list[tuple[float, int, _One]] = []
        self.standing = 0
        """Connections that stand now."""
        self.most = 0
        """The most that ever stood at once."""
        self.closed = 0
        """How often the other end has closed one."""

    def run(self, seconds: float) -> None:
        """Hold them open for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.step()

    def step(self) -> None:
        """Some of the work."""
        while self._idle and self._begun < BEGUN:
            self._begin(self._idle.pop())
        for key, events in self._selector.select(0.02):
            self._event(key.data, events)
        now = time.monotonic()
        while self._slow and self._slow[0][0] <= now:
            _, fd, one = heapq.heappop(self._slow)
            if one.raw is not None and one.raw.fileno() == fd and one.left:
                self._send(one, one.left[:1])
                if one.raw is not None:
                    one.left = one.left[1:]
                    heapq.heappush(self._slow, (now + PACE, fd, one))

    def _begin(self, one: _One) -> None:
        one.raw = socket.socket()
        one.raw.setblocking(False)
        one.raw.connect_ex(one.where)
        one.stands = False
        self._begun += 1
        self._selector.register(one.raw, selectors.EVENT_WRITE, one)

    def _event(self, one: _One, events: int) -> None:
        if one.raw is None:
            return
        if not one.stands:
            self._begun -= 1
            if one.raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._end(one)
                return
            one.stands = True
            self.standing += 1
            self.most = max(self.most, self.standing)
            self._selector.modify(one.raw, selectors.EVENT_READ, one)
            at_once, one.left = _SAYS[one.kind]
            if at_once:
                self._send(one, at_once)
            if one.left and one.raw is not None:
                heapq.heappush(self._slow, (time.monotonic() + PACE, one.raw.fileno(), one))
            return
        if events & selectors.EVENT_READ:
            try:
                ended = not one.raw.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                ended = True
            if ended:
                self._end(one)

    def _send(self, one: _One, data: bytes) -> None:
        assert one.raw is not None
        try:
            one.raw.send(data)
        except OSError:
            self._end(one)

    def _end(self, one: _One) -> None:
        assert one.raw is not None
        self._selector.unregister(one.raw)
        one.raw.close()
        one.raw = None
        if one.stands:
            self.standing -= 1
            self.closed += 1
        self._idle.insert(0, one)

    def close(self) -> None:
        """End all of them."""
        for key in list(self._selector.get_map().values()):
            key.data.raw.close()
        self._selector.close()


def main(seconds: float, count: int, ends: list[tuple[str, int]]) -> None:
    """Run the command."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kinds = os.environ.get("KINDS", ",".join(KINDS)).split(",")
    stranger = Stranger(ends, count, kinds)
    until = time.monotonic() + seconds
    told = time.monotonic() + 1
    while time.monotonic() < until:
        stranger.step()
        if time.monotonic() > told:
            told += 1
            print(json.dumps({"standing": stranger.standing, "closed": stranger.closed}), flush=True)
    print(json.dumps({"most": stranger.most, "closed": stranger.closed}), flush=True)
    stranger.close()


if __name__ == "__main__":
    found = [word.rpartition(":") for word in sys.argv[3:]]
    main(float(sys.argv[1]), int(sys.argv[2]), [(host, int(port)) for host, _, port in found])
