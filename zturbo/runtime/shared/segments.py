"""The segments that this process writes: a buffer each, used again when no process needs what is in them.

A new segment costs many times what it costs to write to one that is there: the kernel finds and clears its
pages. So a segment that has become free is used again, under a new name. Another process that was referred to
the old name, and comes too late, finds nothing. A process that has the segment open has a hard link to it.
So a segment with a single link is in no other process's hands.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from zturbo.runtime.shared.extent import (
    Reference,
    fill,
    map_file,
    rounded,
    unmap,
    view_of,
    writable_view_of,
)
from zturbo.runtime.shared.folder import SharedFolder

__all__ = ["Segments"]

log = logging.getLogger("zturbo")

MOST_BYTES = 512 << 20
"""Bytes of all segments of one process. A sender's retention pauses its producer long before that."""

KEEP = 2.0
"""Seconds for which a free segment waits for its next use."""


class _Segment:
    __slots__ = ("address", "number", "size", "used")

    def __init__(self, number: int, size: int, address: int) -> None:
        self.number = number
        self.size = size
        self.address = address
        self.used = monotonic()


class Segments:
    """The segments of one process.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: SharedFolder) -> None:
        self._folder = folder
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._free: list[_Segment] = []
        self._freed: deque[_Segment] = deque()
        """Segments without views, not yet among the free ones: views end in any thread, at any moment."""
        self.nbytes = 0
        self._told = False

    def write(self, view: memoryview) -> memoryview | None:
        """Copy a buffer into a segment. Returns a view of the copy; None if there is no room.

        When the last view of the copy is gone, the segment is free.
        """
        copy = self._take(view.nbytes, view_of)
        if copy is not None:
            fill(copy, view)
        return copy

    def room(self, nbytes: int) -> memoryview | None:
        """A segment of so many bytes to write to, as a view; None if there is no room.

        What is written there may be given away without a copy. When the last view is gone, the segment is
        free.
        """
        return self._take(nbytes, writable_view_of)

    def _take(
        self, nbytes: int, view: Callable[[int, bytes, Reference, Callable[[], None]], memoryview]
    ) -> memoryview | None:
        try:
            segment = self._segment(rounded(nbytes))
        except OSError as error:
            self._tell(str(error))
            return None
        if segment is None:
            self._tell("there is no room")
            return None

        def end() -> None:
            if os.getpid() == self._pid:
                self._freed.append(segment)

        reference = Reference(segment.number, 0, nbytes)
        return view(segment.address, self._folder.incarnation, reference, end)

    def _segment(self, size: int) -> _Segment | None:
        """A segment of this size or somewhat more, which no process reads."""
        with self._lock:
            self._collect()
            for segment in reversed(self._free):  # the last one may still be in the processor's cache
                if size <= segment.size <= 2 * size and self._is_unread(segment) and self._renamed(segment):
                    self._free.remove(segment)
                    return segment
            for segment in list(self._free):
                if self.nbytes + size > MOST_BYTES:
                    self._drop(segment)
            if self.nbytes + size > MOST_BYTES or not self._folder.room(size):
                return None
            self.nbytes += size
        try:
            return self._new(size)
        except BaseException:
            with self._lock:
                self.nbytes -= size
            raise

    def _is_unread(self, segment: _Segment) -> bool:
        """Whether no other process has a segment open."""
        return os.stat(self._folder.file(segment.number)).st_nlink == 1

    def _renamed(self, segment: _Segment) -> bool:
        """Give a segment a new name. Returns False if another process has opened it by the old one."""
        number = self._folder.new()
        os.rename(self._folder.file(segment.number), self._folder.file(number))
        segment.number = number
        return self._is_unread(segment)

    def _new(self, size: int) -> _Segment:
        number = self._folder.new()
        path = self._folder.file(number)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)  # a write to memory that is not there would end this process
            return _Segment(number, size, map_file(fd, size, writable=True))
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)

    def _collect(self) -> None:
        now = monotonic()
        while self._freed:
            segment = self._freed.popleft()
            segment.used = now
            self._free.append(segment)

    def _drop(self, segment: _Segment) -> None:
        self._free.remove(segment)
        self.nbytes -= segment.size
        unmap(segment.address, segment.size)
        try:
            os.unlink(self._folder.file(segment.number))
        except OSError as error:  # something has cleaned the pool
            log.debug("a segment is gone: %s", error)

    def trim(self) -> bool:
        """Remove segments that have been free for a while. Returns whether there are others."""
        if not self.nbytes:
            return False
        with self._lock:
            self._collect()
            before = monotonic() - KEEP
            for segment in [segment for segment in self._free if segment.used < before]:
                self._drop(segment)
            return self.nbytes > 0

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            log.warning("large contents are sent in messages, not in shared memory: %s", why)
