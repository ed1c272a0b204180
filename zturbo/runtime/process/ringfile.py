"""The ring of a worker's trace, in memory that it shares with its node."""

from __future__ import annotations

import mmap
import os
import zlib

from zturbo.telemetry.ring import SIZE, Ring, copy

__all__ = ["RingFile"]


class RingFile:
    """One end of the memory.

    Args:
        fd: descriptor of the memory; it is closed here.
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        os.close(fd)

    @staticmethod
    def make() -> int:
        """A new piece of memory, as a descriptor that a child may inherit."""
        fd = os.memfd_create("zturbo-trace", os.MFD_CLOEXEC)
        os.ftruncate(fd, SIZE)
        return fd

    def ring(self) -> Ring:
        """The ring, for the worker, which writes."""
        return Ring(self._map)

    def packed(self, since: float = 0.0) -> bytes:
        """A compressed copy of what ended after a time, for the node, which reads."""
        return zlib.compress(copy(self._map, since), 1)

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()
