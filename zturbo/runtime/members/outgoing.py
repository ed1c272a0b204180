"""Results on their way from a sink to its clients: small ones for one client share a message."""

from __future__ import annotations

from collections.abc import Callable

from zturbo.wire.messages import MAX_RIDERS, Results

__all__ = ["OutgoingResults"]

SMALL = 4 << 10
"""Bytes of results that share a message with others, at most."""

TOGETHER = 64 << 10
"""Bytes of results in one message, about."""


class OutgoingResults:
    """Results that go out at the end of a round.

    Args:
        send: sends results, with those that travel with them, to a client.
    """

    def __init__(self, send: Callable[[bytes, Results], None]) -> None:
        self._send = send
        self._waiting: dict[bytes, tuple[Results, int]] = {}
        """Client -> the first of its results, which has the others as riders, and their bytes."""

    def add(self, client: bytes, results: Results) -> None:
        """Let these results go out, after all that was added for this client before."""
        nbytes = results.nbytes
        if nbytes > SMALL or results.buffers:
            self._go(client)
            self._send(client, results)
            return
        head, before = self._waiting.get(client, (None, 0))
        if head is None:
            self._waiting[client] = results, nbytes
            return
        head.riders.append(results)
        self._waiting[client] = head, before + nbytes
        if before + nbytes > TOGETHER or len(head.riders) == MAX_RIDERS:
            self._go(client)

    def send(self) -> None:
        """The round is over: send all that waits."""
        for client in list(self._waiting):
            self._go(client)

    def _go(self, client: bytes) -> None:
        waiting = self._waiting.pop(client, None)
        if waiting is not None:
            self._send(client, waiting[0])
