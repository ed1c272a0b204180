"""Who may read results at a sink: the broker tells it the keys, and each job's stamp has its owner."""

from __future__ import annotations

from collections.abc import Sequence

import zmq

from zturbo.runtime.net.audit import Audit
from zturbo.runtime.net.gate import RESULTS, Gate
from zturbo.runtime.net.peers import user_of
from zturbo.wire.control import from_broker

__all__ = ["Permits"]

MOST = 10_000
"""Clients whose keys are noted at most; beyond it the one that was heard longest ago is forgotten."""


class Permits:
    """What the keys may do that readers of results have.

    Args:
        gate: of this process; None without keys, and then each client may read all jobs.
        audit: told of messages that are refused.
    """

    def __init__(self, gate: Gate | None, audit: Audit) -> None:
        self._gate = gate
        self._audit = audit
        self._keys: dict[str, tuple[str, str]] = {}
        """Public key -> (role, name)."""
        self._clients: dict[bytes, str] = {}
        """Client -> its key."""
        self._shared = False
        if gate is not None:
            gate.admit(RESULTS, (), waits=True)

    def take(self, readers: from_broker.Readers) -> None:
        """The broker tells who may read."""
        self._keys = {key: (role, name) for key, role, name in readers.readers}
        self._shared = readers.shared
        if self._gate is not None:
            self._gate.admit(RESULTS, self._keys, waits=True)

    def come(self, client: bytes, frames: Sequence[zmq.Frame]) -> bool:
        """A message has come. Returns whether it is taken: not under a revoked or another client's key."""
        if self._gate is None:
            return True
        key = user_of(frames[-1]) if frames else ""
        if key not in self._keys:
            self._audit.note("a reader's message under a key that was revoked", "")
            return False
        known = self._clients.pop(client, key)
        if known != key and known in self._keys:
            self._clients[client] = known
            self._audit.note("a reader's message under an identity that belongs to another key", "")
            return False
        self._clients[client] = key
        if len(self._clients) > MOST:
            del self._clients[next(iter(self._clients))]
        return True

    def is_viewer(self, client: bytes) -> bool:
        """Whether a client may look, and change nothing: not how far a job's results were taken, either."""
        return self._keys.get(self._clients.get(client, ""), ("", ""))[0] == "viewer"

    def may_read(self, client: bytes, owner: str) -> bool:
        """Whether a client may read the jobs of this owner."""
        if self._gate is None:
            return True
        role, name = self._keys.get(self._clients.get(client, ""), ("", ""))
        return role in ("admin", "viewer") or (role == "client" and (self._shared or name == owner))
