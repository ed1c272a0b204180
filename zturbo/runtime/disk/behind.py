"""Writes large files to the disk soon after their data has come, and lets their old pages go.

Without that, a file that only grows takes page after page of the kernel's cache until it is removed. On a
virtual machine a page that was not used for a while costs many times what its copy costs, since the host has
to find it. On any machine such a file drives those of other programs out of the cache, and the kernel writes
it out in bursts, for which all writers have to wait. PostgreSQL's ``backend_flush_after`` and RocksDB's
``bytes_per_sync`` are for the same.

This is for speed alone, and promises nothing: a file is safe after :meth:`Spool.sync`, as without it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress

__all__ = ["FROM", "STEP", "WriteBehind"]

FROM = 64 << 20
"""Bytes that a file has before any of it is written early: a smaller one may be removed before it need be."""

STEP = 8 << 20
"""Bytes that are written at a time, at least."""

KEEP = 64 << 20
"""Bytes at the end of a file that stay in the cache: they may be read soon."""

_WRITE = 2
"""``SYNC_FILE_RANGE_WRITE``: begin to write, and do not wait for the end."""

_libc = ctypes.CDLL(None, use_errno=True)
_begin_to_write = getattr(_libc, "sync_file_range", None)
"""None where the C library has no such call."""
if _begin_to_write is not None:
    _begin_to_write.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class WriteBehind:
    """The early writes of one process, in a thread of its own, which begins with the first of them.

    A slow disk holds up this thread alone. What has come meanwhile is then written at once.
    """

    def __init__(self) -> None:
        self._grown: dict[int, tuple[int, int]] = {}
        """Descriptor -> the bytes that are to be written."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self.written = 0
        """Bytes whose writing has begun."""

    def grown(self, fd: int, start: int, stop: int) -> None:
        """A file has got these bytes.

        The file may be closed at any time. Its descriptor may stand for another file then, which gets a part
        of its data written early, and nothing worse.
        """
        if _begin_to_write is None:
            return
        with self._lock:
            self._grown[fd] = (self._grown.get(fd, (start, 0))[0], stop)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="write behind", daemon=True)
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                grown, self._grown = self._grown, {}
            for fd, (start, stop) in grown.items():
                self._write(fd, start, stop)

    def _write(self, fd: int, start: int, stop: int) -> None:
        assert _begin_to_write is not None
        if _begin_to_write(fd, start, stop - start, _WRITE) == 0:  # else it is closed, or no file that can be
            self.written += stop - start
        old = stop - KEEP
        if old > 0:
            with suppress(OSError):
                os.posix_fadvise(fd, 0, old, os.POSIX_FADV_DONTNEED)
