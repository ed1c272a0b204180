"""The segments of other processes that this one has open.

A process that is referred to a segment makes a hard link to it in its own folder, and maps it for reading. It
keeps the link as long as a view is left, and refers others to it. So it does not matter to them when the
process that wrote the segment lets go of it, or dies. A mapping is kept a little longer, for the segment's
next use.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from zturbo.errors import DecodeError
from zturbo.runtime.shared.extent import Reference, map_file, unmap, view_of
from zturbo.runtime.shared.folder import SharedFolder

__all__ = ["Gone", "OpenedSegments"]

MOST, MOST_BYTES = 256, 512 << 20
"""Extents of others, and their bytes, that this process has at once. Beyond these, it copies: a program that
keeps all contents has them in memory of its own."""

MOST_PINNED = 64
"""Extents that may stay until this process ends, because a forked process may have a view of them."""

KEEP = 2.0
"""Seconds for which a mapping without views is kept."""


class Gone(DecodeError):
    """The segment is not there any more."""


class _Mapping:
    __slots__ = ("address", "size", "used", "users")

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size
        self.users: set[int] = set()
        """Numbers of this process's links with views of the mapping."""
        self.used = monotonic()


class OpenedSegments:
    """What this process reads.

    Args:
        folder: of this process.
    """

    def __init__(self, folder: SharedFolder) -> None:
        self._folder = folder
        self._pid = os.getpid()
        self._mappings: dict[int, _Mapping] = {}
        """Inode -> mapping. A mapped file keeps its inode, so no other file gets this number."""
        self._links: dict[int, int] = {}
        """Link of this process that a view is left of -> its bytes."""
        self._pinned: set[int] = set()

    def open(self, owner: bytes, reference: Reference) -> memoryview:
        """A read-only view of the bytes that a process refers to.

        Raises:
            Gone: its segment is not there.
            OSError: it cannot be opened.
            DecodeError: the file is not a segment, or has not so many bytes.
        """
        number, offset, nbytes = reference
        own = self._folder.new()
        path = self._folder.file(own)
        try:
            os.link(self._folder.file_of(owner, number), path, follow_symlinks=False)
        except FileNotFoundError:
            raise Gone("a segment is gone") from None
        try:
            mapping = self._mapping(path, offset + nbytes)
        except BaseException:
            os.unlink(path)
            raise
        mapping.users.add(own)
        mine = Reference(own, offset, nbytes)
        view = view_of(mapping.address + offset, self._folder.incarnation, mine, self._ender(own, mapping))
        if self._full(nbytes):
            return memoryview(bytes(view))
        self._links[own] = nbytes
        return view

    def _full(self, nbytes: int) -> bool:
        """Whether this process has no more views of this size."""
        if len(self._links) >= MOST or len(self._pinned) >= MOST_PINNED:
            return True
        return sum(list(self._links.values())) + nbytes > MOST_BYTES

    def _mapping(self, path: str, least: int) -> _Mapping:
        found = os.stat(path, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size < least:
            raise DecodeError("a reference to a file that is not a segment")
        mapping = self._mappings.get(found.st_ino)
        if mapping is None:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                mapping = _Mapping(map_file(fd, found.st_size, writable=False), found.st_size)
            finally:
                os.close(fd)
            self._mappings[found.st_ino] = mapping
        return mapping

    def _ender(self, own: int, mapping: _Mapping) -> Callable[[], None]:
        def end() -> None:
            if os.getpid() != self._pid or own in self._pinned:
                return
            with suppress(OSError):
                os.unlink(self._folder.file(own))
            mapping.used = monotonic()
            mapping.users.discard(own)
            self._links.pop(own, None)

        return end

    def pin(self) -> None:
        """Before a fork: the new process may use all views that are here, for as long as it likes."""
        self._pinned.update(list(self._links))

    def trim(self) -> bool:
        """Unmap segments that have not been used for a while. Returns whether some are left."""
        if self._mappings:
            before = monotonic() - KEEP
            for inode, mapping in list(self._mappings.items()):
                if not mapping.users and mapping.used < before:
                    del self._mappings[inode]
                    unmap(mapping.address, mapping.size)
        return bool(self._mappings)
