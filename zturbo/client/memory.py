"""A client's share of its host's memory: large contents on their way to the broker, and results of a sink.

It is made when it is first needed: most clients have only small contents.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence

from zturbo.errors import DecodeError
from zturbo.runtime.net.host import host_name
from zturbo.runtime.shared.contents import SHARED_FROM, SharedContents, at_address, has_references
from zturbo.wire.extensions import Encoder
from zturbo.wire.messages import Buffer

__all__ = ["ClientMemory"]

TRIM = 1.0
"""Seconds between two looks at memory that is not used any more."""


class ClientMemory:
    """The shared memory of one client. It may be used in any thread.

    Args:
        identity: of the client; a sink on this host finds its folder by it.
        broker: the broker's address.
    """

    def __init__(self, identity: bytes, broker: str) -> None:
        self._identity = identity
        self._broker = at_address(host_name(), broker)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._made = False
        self.trim_at = math.inf
        """When to look at what is not used any more."""
        self._shared: SharedContents | None = None
        if Encoder.keeper is None:  # else this process has another client, or is a worker
            Encoder.keeper = self

    def make(self) -> SharedContents | None:
        """The folder and all in it; None if this host has no shared memory for it."""
        with self._lock:
            if not self._made:
                self._made = True
                self._shared = SharedContents.make(self._identity)
            return self._shared

    def put(self, view: memoryview, final: bool) -> memoryview | None:
        """Let a buffer lie in shared memory, if the broker can read it there: as SharedContents does."""
        shared = self._for(view.nbytes)
        return None if shared is None else shared.put(view, final)

    def room(self, nbytes: int) -> memoryview | None:
        """So many bytes of shared memory to write to; None if a buffer of that size does not go there."""
        shared = self._for(nbytes)
        return None if shared is None else shared.room(nbytes)

    def _for(self, nbytes: int) -> SharedContents | None:
        if nbytes < SHARED_FROM or os.getpid() != self._pid:
            return None
        shared = self.make()
        if shared is not None:
            shared.wanted = shared.folder.can_read(self._broker)
        return shared

    def to_broker(self, frames: list[Buffer]) -> list[Buffer]:
        """The frames of a request, by reference where the broker can read them."""
        if self._shared is None or len(frames) <= 2:
            return frames
        self._used()
        return self._shared.outgoing(self._broker, frames)

    def incoming(self, frames: Sequence[Buffer], *, near: bool) -> list[Buffer]:
        """The frames of a message from a sink.

        Args:
            frames: as they came.
            near: whether the sink is on this host, so that it may refer to shared memory. One in another
                container may see this client's memory, but is not believed; from then on it sends frames.

        Raises:
            DecodeError: what it refers to is not to be read. The client asks again.
        """
        if not has_references(frames):
            return list(frames)
        if self._shared is None:
            raise DecodeError("references from a process that this one shares no memory with")
        if not near:
            self._shared.folder.stop_reading()
            raise DecodeError("references from a process that is not on this host")
        self._used()
        return self._shared.incoming(frames)

    def _used(self) -> None:
        self.trim_at = min(self.trim_at, time.monotonic() + TRIM)

    def trim(self, now: float) -> None:
        """Give back what was not used for a while. Called at :attr:`trim_at`."""
        if self._shared is not None:
            self.trim_at = now + TRIM if self._shared.trim() else math.inf

    def close(self) -> None:
        """Remove the folder."""
        if Encoder.keeper is self:
            Encoder.keeper = None
        with self._lock:
            self._made = True
            if self._shared is not None:
                self._shared.close()
