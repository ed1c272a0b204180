"""The gate: says which keys may connect to the sockets of this process (ZAP, RFC 27).

CURVE alone admits every key. So each context with a secured socket has a gate beside it, in a thread of its
own, which answers libzmq's question for each handshake. The sockets are made so that without a gate nobody
gets in at all (``ZAP_ENFORCE_DOMAIN``).

A gate has a list of public keys for each *domain*, a kind of socket. The user id of an admitted connection is
its public key, which libzmq then attaches to each frame. So a receiver knows of each message which key has
sent it, and looks up at that moment what this key may do: a key that is revoked later loses its rights at
once, on connections that stand too.

The broker has its list on disk. Other processes learn from the broker which keys there are, and a peer may
connect a moment before its key is known. So a connection under a key that is not on the list yet waits a
little, and is refused only then.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import zmq
from zmq.utils import z85

from zturbo.runtime.net.audit import Audit
from zturbo.slotted import slotted

__all__ = ["CONTROL", "INBOX", "RESULTS", "Gate"]

log = logging.getLogger("zturbo")

CONTROL, INBOX, RESULTS = "control", "inbox", "results"
"""Domains: the broker's control socket, inboxes, and sinks' sockets for clients."""

PATIENCE = 2.0
"""Seconds that a connection waits for its key to be learnt; libzmq gives up after three."""

MOST = 256
"""Connections that wait at most; beyond it the one that has waited longest is refused."""

ADDRESS = "inproc://zeromq.zap.01"
"""Where libzmq asks."""


@slotted
class _List:
    keys: frozenset[str]
    waits: bool
    """Whether keys may become known in a moment."""
    again: bool
    """Whether a refused process may try again by itself. If not, libzmq tells it that it is refused."""


@slotted
class _Waiting:
    sender: bytes
    request: bytes
    domain: str
    address: str
    key: str
    until: float


class Gate:
    """The gate of one context.

    Args:
        context: of the sockets.
        audit: told of keys that are refused.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], audit: Audit) -> None:
        self._audit = audit
        self._lists: dict[str, _List] = {}
        self._waiting: list[_Waiting] = []
        self._socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(ADDRESS)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._over = False
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()

    def admit(self, domain: str, keys: Iterable[str], *, waits: bool = False, again: bool = False) -> None:
        """Let these keys in, and no others. Any thread may call it.

        Args:
            domain: the kind of socket.
            keys: public keys.
            waits: whether more keys may become known in a moment, so that an unknown one waits.
            again: whether a process under an unknown key is to try again, as a peer does that is early.
        """
        new = _List(frozenset(keys), waits, again)
        if self._lists.get(domain) != new:
            self._lists[domain] = new
            os.eventfd_write(self._wake, 1)

    @property
    def waiting(self) -> int:
        """How many connections wait for their keys to be learnt."""
        return len(self._waiting)

    def close(self) -> None:
        """End it, before the context ends."""
        if self._over:
            return
        self._over = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._wake)

    # -- the thread ---------------------------------------------------------------------------
    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while not self._over:
            try:
                until = min((one.until for one in self._waiting), default=None)
                wait = None if until is None else int(max(0.0, until - time.monotonic()) * 1000) + 1
                poller.poll(wait)
                self._read_wake()
                while self._socket.poll(0):
                    self._take(self._socket.recv_multipart(), time.monotonic())
                self._answer_waiting(time.monotonic())
            except zmq.ContextTerminated:
                return
            except Exception:  # without its thread nobody gets in any more
                log.exception("the gate has failed for a handshake")
                time.sleep(0.01)

    def _read_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass

    def _take(self, frames: list[Any], now: float) -> None:
        """libzmq asks whether a key may connect."""
        sender, _, version, request, domain, address, _, mechanism, *credentials = frames
        if version != b"1.0" or mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            self._say(sender, request, b"400")
            return
        key = z85.encode(credentials[0]).decode()
        one = _Waiting(
            sender,
            request,
            domain.decode("ascii", "replace"),
            address.decode("ascii", "replace"),
            key,
            now + PATIENCE,
        )
        if not self._settle(one, now):
            self._waiting.append(one)
            if len(self._waiting) > MOST:
                self._refuse(self._waiting.pop(0))

    def _answer_waiting(self, now: float) -> None:
        self._waiting = [one for one in self._waiting if not self._settle(one, now)]

    def _settle(self, one: _Waiting, now: float) -> bool:
        """Answer, if that can be done now."""
        known = self._lists.get(one.domain)
        if known is not None and one.key in known.keys:
            self._say(one.sender, one.request, b"200", one.key.encode())
            return True
        if known is not None and known.waits and now < one.until:
            return False
        self._refuse(one)
        return True

    def _refuse(self, one: _Waiting) -> None:
        known = self._lists.get(one.domain)
        self._audit.note("a connection under a key that is not on the list, or was revoked", one.address)
        self._say(one.sender, one.request, b"300" if known is not None and known.again else b"400")

    def _say(self, sender: bytes, request: bytes, status: bytes, user: bytes = b"") -> None:
        self._socket.send_multipart([sender, b"", b"1.0", request, status, b"", user, b""])
