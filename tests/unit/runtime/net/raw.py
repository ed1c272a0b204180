"""A stranger that speaks ZMTP by hand: libzmq itself never sends a part of a message."""

from __future__ import annotations

import socket
import struct
from typing import Any
from urllib.parse import urlsplit

__all__ = ["EMPTY", "accept", "connect", "frame", "shake_hands"]

EMPTY = b"\x01\x00"
"""A frame without bytes, after which more are to come."""


def connect(endpoint: str, kind: bytes) -> socket.socket:
    """A connection that has shaken hands.

    Args:
        endpoint: ``tcp://HOST:PORT``.
        kind: what socket it says that it is.
    """
    parts = urlsplit(endpoint)
    raw = socket.create_connection((parts.hostname, parts.port), timeout=20)
    shake_hands(raw, kind)
    return raw


def accept(listening: socket.socket, kind: bytes) -> socket.socket:
    """The next connection to a listening socket, once it has shaken hands.

    Args:
        listening: the socket.
        kind: what socket it says that it is.
    """
    while True:
        raw, _ = listening.accept()
        raw.settimeout(20)
        try:
            shake_hands(raw, kind)
        except OSError:  # it has waited so long that the other end has tried again
            raw.close()
        else:
            return raw


def shake_hands(raw: socket.socket, kind: bytes) -> None:
    """Say what is said before the first message, and read what the other end says."""
    raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31))
    _read(raw, 64)
    ready = b"\x05READY" + _property(b"Socket-Type", kind) + _property(b"Identity", b"")
    raw.sendall(b"\x04" + bytes([len(ready)]) + ready)
    _read(raw, _read(raw, 2)[1])


def frame(data: bytes, *, more: bool) -> bytes:
    """One frame."""
    return bytes([2 | more]) + struct.pack(">Q", len(data)) + data


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def _read(raw: socket.socket, n: int) -> Any:
    out = b""
    while len(out) < n:
        more = raw.recv(n - len(out))
        if not more:
            raise ConnectionError("the other end has closed")
        out += more
    return out
