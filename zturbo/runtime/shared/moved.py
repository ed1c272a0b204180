"""Segments that have moved from shared memory to the disk. A page of head stands before each in its file.

A segment is written past the page cache, where the file system can do that: new pages there cost more than
all the rest. A segment that is not needed any more is punched out of its file. A file goes when nothing in it
is needed.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from zturbo.runtime.disk.checksum import crc_of, has_fast_sums
from zturbo.runtime.disk.holes import punch_hole
from zturbo.runtime.disk.spool import SpoolCorrupt

__all__ = ["MovedSegments", "Place"]

MOST_BYTES = 128 << 20
"""Bytes of a file from which on another one is begun."""

_HEAD = struct.Struct("<4sIQQII")  # mark, whether the sum is of sums, number, bytes, checksum, of the five
_MARK = b"ztm1"
_PAGE = mmap.PAGESIZE
_SUFFIX = ".moved"


class Place(NamedTuple):
    """Where a segment lies."""

    path: Path
    offset: int
    """Of the head."""
    size: int


class MovedSegments:
    """The segments in one folder. One thread adds, others may read and free.

    Args:
        folder: made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._places: dict[int, Place] = {}
        self._left: dict[Path, int] = {}
        """File -> segments in it that are needed."""
        self._file: int | None = None
        self._path = folder
        self._end = 0
        self._direct = True
        self._adding = False
        with suppress(FileNotFoundError):
            for path in sorted(folder.iterdir()):
                if path.name.endswith(_SUFFIX):
                    self._scan(path)

    def _scan(self, path: Path) -> None:
        """Find what an earlier process has written to a file. What its death broke off is not used: the
        segment is in shared memory still."""
        self._left[path] = 0
        offset = 0
        with open(path, "rb", buffering=0) as file:
            total = os.fstat(file.fileno()).st_size
            while (head := _read_head(os.pread(file.fileno(), _HEAD.size, offset))) is not None:
                _, number, size, _ = head
                if offset + _PAGE + size > total:
                    break
                self._places[number] = Place(path, offset, size)
                self._left[path] += 1
                offset += _PAGE + size
        if not self._left[path]:
            del self._left[path]
            path.unlink(missing_ok=True)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def numbers(self) -> list[int]:
        """Of all segments here."""
        with self._lock:
            return list(self._places)

    def add(self, number: int, content: memoryview, *, direct: bool = True) -> None:
        """Write a segment, whose size is one of pages. It outlives this process when this returns.

        Raises:
            OSError: it cannot be written.
        """
        sums = has_fast_sums()
        head = mmap.mmap(-1, _PAGE)
        raw = _HEAD.pack(_MARK, sums, number, content.nbytes, crc_of(b"", [content], sums=sums), 0)
        head[: _HEAD.size] = raw[:-4] + crc_of(raw[:-4], [], sums=False).to_bytes(4, "little")
        with self._lock:
            self._adding = True
        try:
            self._add(number, [memoryview(head), content], direct=direct)
        finally:
            with self._lock:
                self._adding = False

    def _add(self, number: int, parts: list[memoryview], *, direct: bool) -> None:
        if self._file is None or self._end >= MOST_BYTES:
            self._begin()
        assert self._file is not None
        try:
            self._write(parts, direct=direct)
        except BaseException:
            os.ftruncate(self._file, self._end)
            raise
        size = parts[1].nbytes
        with self._lock:
            self._places[number] = Place(self._path, self._end, size)
            self._left[self._path] += 1
        self._end += _PAGE + size

    def _begin(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{os.urandom(8).hex()}{_SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        old, self._file = self._file, file
        with self._lock:
            before, self._path, self._end = self._path, path, 0
            self._left[path] = 0
        if old is not None:
            os.close(old)
            self._remove_if_empty(before)

    def _write(self, parts: list[memoryview], *, direct: bool) -> None:
        assert self._file is not None
        total, at = sum(part.nbytes for part in parts), self._end
        if direct and self._direct:
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
                try:
                    if os.pwritev(fd, parts, at) == total:
                        return
                finally:
                    os.close(fd)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = False  # this file system has no such writes
        wrote = os.pwritev(self._file, parts, at)
        rest = memoryview(b"".join(parts))[wrote:] if wrote < total else memoryview(b"")
        while rest:
            n = os.pwrite(self._file, rest, at + total - rest.nbytes)
            if n == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[n:]

    def read(self, number: int, start: int, nbytes: int) -> memoryview:
        """A part of a segment.

        Raises:
            SpoolCorrupt: it is not there as it was written.
        """
        place = self._places.get(number)
        if place is None:
            raise SpoolCorrupt(f"{self._folder}: content {number} of a record is not there")
        try:
            with open(place.path, "rb", buffering=0) as file:
                body = memoryview(os.pread(file.fileno(), _PAGE + place.size, place.offset))
        except OSError as error:
            raise SpoolCorrupt(f"{place.path} cannot be read: {error.strerror}") from None
        head, content = _read_head(body[: _HEAD.size]), body[_PAGE:]
        if head is None or head[1:3] != (number, content.nbytes) or start + nbytes > content.nbytes:
            raise SpoolCorrupt(f"{place.path}: content {number} of a record is not as it was written")
        if crc_of(b"", [content], sums=head[0]) != head[3]:
            raise SpoolCorrupt(f"{place.path}: content {number} of a record is damaged")
        return content[start : start + nbytes]

    def free(self, numbers: Iterable[int]) -> None:
        """These segments are not needed any more."""
        self.give_back(self.forget(numbers))

    def forget(self, numbers: Iterable[int]) -> list[Place]:
        """These segments are not needed any more. Returns where those that are here lie: their space is to be
        given back, which may take as long as a write."""
        with self._lock:
            found = (self._places.pop(number, None) for number in numbers)
            return [place for place in found if place is not None]

    def give_back(self, places: Iterable[Place]) -> None:
        """Give back the space of segments that are not needed any more."""
        freed: dict[Path, list[Place]] = {}
        last: int | None = None
        with self._lock:
            for place in places:
                freed.setdefault(place.path, []).append(place)
                self._left[place.path] -= 1
            if self._path in freed and not self._left[self._path] and not self._adding:
                last, self._file, self._path = self._file, None, self._folder
        if last is not None:
            os.close(last)
        for path, ended in freed.items():
            if not self._remove_if_empty(path):
                self._punch(path, ended)

    def _punch(self, path: Path, places: Sequence[Place]) -> None:
        """Give back the space of these in a file of which others are needed."""
        with suppress(OSError):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                for place in places:
                    punch_hole(fd, place.offset + _PAGE, place.size)
            finally:
                os.close(fd)

    def _remove_if_empty(self, path: Path) -> bool:
        with self._lock:
            if self._left.get(path) or path == self._path:
                return False
            self._left.pop(path, None)
        path.unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Close the file; remove it if nothing in it is needed, and the folder if it is empty."""
        if self._file is not None:
            os.close(self._file)
            self._file, path, self._path = None, self._path, self._folder
            self._remove_if_empty(path)
        with suppress(OSError):
            self._folder.rmdir()


def _read_head(raw: bytes | memoryview) -> tuple[bool, int, int, int] | None:
    """(whether the checksum is of sums, number, bytes, checksum); None if it is no head."""
    if len(raw) < _HEAD.size:
        return None
    mark, sums, number, size, crc, own = _HEAD.unpack(raw)
    if mark != _MARK or crc_of(bytes(raw[:-4]), [], sums=False) != own:
        return None
    return bool(sums), number, size, crc
