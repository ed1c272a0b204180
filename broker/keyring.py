"""The keys that a broker lets in: its folder of them, which it looks at three times a second."""

from __future__ import annotations

import logging
from pathlib import Path

from zturbo.errors import UsageError
from zturbo.runtime.net.gate import CONTROL, Gate
from zturbo.runtime.net.keys import allowed, seen_change
from zturbo.wire.control import from_broker
from zturbo_broker.members.rights import User

__all__ = ["Keyring"]

log = logging.getLogger("zturbo.broker")

LOOK_EVERY = 0.3
"""Seconds between two looks at the folder: a revoked key loses its rights within one second."""

TELL_EVERY = 2.0
"""Seconds after which sinks are told again who may read, since a message may get lost."""


class Keyring:
    """The keys, by public key.

    Args:
        folder: as ``zturbo keys init`` makes it.
        shared: whether each client may read the jobs of all.

    Raises:
        UsageError: the folder cannot be read, or others can read it.
    """

    def __init__(self, folder: Path, *, shared: bool) -> None:
        self.folder = folder
        self.shared = shared
        self._seen = seen_change(folder)
        self.users = self._read()
        self._revoked: set[str] | None = None
        """Keys that were revoked since the last :meth:`look`; None if nothing has changed."""
        self._problem = ""
        """Why the folder could not be read at the last look."""
        self._look_at = self._tell_at = 0.0

    def _read(self) -> dict[str, User]:
        return {key: User(who.role, who.name, key) for key, who in allowed(self.folder).items()}

    def open(self, gate: Gate) -> None:
        """Let the gate let in these keys."""
        gate.admit(CONTROL, self.users)

    def user(self, key: str, now: float) -> User | None:
        """Whose key a message has come under; None if it is not let in.

        If a look at the folder is due, it comes first. So what came while the broker stood still is not taken
        under a revoked key either.
        """
        self._refresh(now)
        return self.users.get(key)

    def look(self, now: float) -> set[str] | None:
        """Look at the folder if that is due. Returns the keys that were revoked since the last call; None if
        nothing has changed.

        If the folder cannot be read, the keys stay as they are.
        """
        self._refresh(now)
        revoked, self._revoked = self._revoked, None
        return revoked

    def _refresh(self, now: float) -> None:
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        seen = seen_change(self.folder)
        if seen == self._seen:
            return
        try:
            users = self._read()
        except UsageError as error:
            if str(error) != self._problem:
                log.error("the keys stay as they were: %s", error)
            self._problem = str(error)  # the next look tries again: rights change without a trace in ``seen``
            return
        self._seen, self._problem = seen, ""
        before, self.users = self.users, users
        self._tell_at = 0.0
        gone = {key for key, user in before.items() if users.get(key) != user}
        self._revoked = gone | (self._revoked or set())

    def deadline(self) -> float:
        """When to look again."""
        return self._look_at if self._revoked is None else 0.0

    def tell(self, now: float, *, changed: bool) -> from_broker.Readers | None:
        """What to tell all sinks now, if anything.

        Args:
            now: the time.
            changed: whether there may be another sink.
        """
        if now < self._tell_at and not changed:
            return None
        self._tell_at = now + TELL_EVERY
        readers = tuple(
            (user.key, user.role, user.name) for user in self.users.values() if user.role != "node"
        )
        return from_broker.Readers(readers=readers, shared=self.shared)
