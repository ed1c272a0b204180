"""Identities on a ROUTER that takes keys: no other key can take one over.

A ROUTER sends to whoever has last connected under an identity, and many an identity is known to others: a
member's is its incarnation, which ``zturbo hosts`` shows. So where there are keys, a process connects under
its identity and 16 random bytes more, which it tells nobody. The router knows the whole only from the
connection itself, and an identity belongs to the key that came with it first.
"""

from __future__ import annotations

import os

__all__ = ["LENGTH", "Routes", "own_identity"]

LENGTH = 16
"""Bytes of an identity."""

MOST = 1 << 16
"""Identities that are remembered; beyond it the one that was heard longest ago is forgotten."""


def own_identity(identity: bytes, *, secured: bool) -> bytes:
    """Under what a process connects to the broker."""
    return identity + os.urandom(LENGTH) if secured else identity


class Routes:
    """Where the identities on a router are."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, str]] = {}
        """Identity -> (the whole that it connected under, its key); the one heard last is the last one."""

    def came(self, whole: bytes, user: str) -> bytes | None:
        """The identity of a connection from which a message came; None if it belongs to another key."""
        identity = whole[:LENGTH]
        known = self._known.pop(identity, None)
        if known is not None and known[1] != user:
            self._known[identity] = known
            return None
        self._known[identity] = (whole, user)
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        return identity

    def to(self, identity: bytes) -> bytes:
        """Under what this identity is connected; no connection has the answer if it is not known."""
        known = self._known.get(identity)
        return identity if known is None else known[0]

    def forget(self, keys: set[str]) -> None:
        """These keys were revoked: what they had belongs to nobody."""
        for identity in [one for one, (_, user) in self._known.items() if user in keys]:
            del self._known[identity]
