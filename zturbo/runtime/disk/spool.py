"""An append-only file of records: a sink's spool, or the spilled items of a sequencer.

A record has a header (magic, length, checksum of the body, CRC-32 of these) and a body of frames. A record at
the end may be torn, because a crash cut its write short: it is cut off when the file is read again. Damage
anywhere else is an error. Damaged data is never served.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from zturbo.errors import ZturboError
from zturbo.runtime.disk.behind import FROM, STEP, WriteBehind
from zturbo.runtime.disk.checksum import LARGE, crc_of, has_fast_sums
from zturbo.runtime.disk.holes import punch_hole
from zturbo.wire.messages import Buffer

__all__ = ["Location", "Spool", "SpoolCorrupt", "SpoolFull"]

_HEADER = struct.Struct("<4sQII")  # magic, length of the body, CRC of the body, CRC of the three
_MAGIC = b"zts1"
_MAGIC_SUMS = b"zts2"
"""Of a record with large frames, which stand in its checksum by their sums (:mod:`.checksum`)."""


class SpoolCorrupt(ZturboError):
    """A record is not as it was written. It is not served."""


class SpoolFull(ZturboError):
    """The disk is full. The file is as it was before."""


class Location(NamedTuple):
    """Where a record lies in the file."""

    offset: int
    length: int
    """Bytes of its body."""


class Spool:
    """One file of records.

    Args:
        path: the file; made if it is not there.
        behind: writes it to the disk early if it becomes large; None for no such thing.

    Raises:
        SpoolFull: there is no room for the file.
    """

    def __init__(self, path: Path, behind: WriteBehind | None = None) -> None:
        self.path = path
        self._behind = behind
        self._next_behind = FROM
        """Size from which on the next part of it is written early."""
        self._written_behind = 0
        self._entered = False
        """Whether the folder's entry for it is on the disk too."""
        self.size = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags | os.O_EXCL, 0o600)
        except FileExistsError:
            self._file = os.open(path, flags, 0o600)
            self._entered, self.size = True, os.fstat(self._file).st_size
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise SpoolFull(f"{path}: {error.strerror}") from None
            raise
        self._closed = False

    def append(self, frames: Sequence[Buffer]) -> Location:
        """Write a record at the end. It is safe after :meth:`sync`.

        Raises:
            SpoolFull: there is no room; nothing was written.
        """
        views = [memoryview(frame).cast("B") for frame in frames]
        index = struct.pack(f"<I{len(views)}Q", len(views), *(view.nbytes for view in views))
        sums = any(view.nbytes >= LARGE for view in views) and has_fast_sums()
        crc = crc_of(index, views, sums=sums)
        length = len(index) + sum(view.nbytes for view in views)
        head = struct.pack("<4sQI", _MAGIC_SUMS if sums else _MAGIC, length, crc)
        head += struct.pack("<I", zlib.crc32(head))
        location = Location(self.size, length)
        try:
            self._write([head, index, *views], _HEADER.size + length)
        except OSError as error:
            os.ftruncate(self._file, self.size)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise SpoolFull(f"{self.path}: {error.strerror}") from None
            raise
        self.size += _HEADER.size + length
        if self._behind is not None and self.size >= self._next_behind:
            self._behind.grown(self._file, self._written_behind, self.size)
            self._written_behind, self._next_behind = self.size, self.size + STEP
        return location

    def _write(self, parts: list[Buffer], total: int) -> None:
        """Write these at the end; ``total``: their bytes."""
        at = self.size
        wrote = os.pwritev(self._file, parts[:1000], at)
        if wrote < total:
            # The disk is nearly full, or there are more frames than one call takes: write the rest by itself.
            rest = memoryview(b"".join(bytes(part) for part in parts))[wrote:]
            at += wrote
            while rest:
                n = os.pwrite(self._file, rest, at)
                if n == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                rest, at = rest[n:], at + n

    def punch(self, offset: int) -> None:
        """Give back the space of all records before this one. They cannot be read any more."""
        punch_hole(self._file, 0, offset)

    def sync(self) -> None:
        """Return once all that was appended so far is on the disk."""
        os.fdatasync(self._file)
        if not self._entered:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._entered = True

    def read(self, location: Location) -> list[memoryview]:
        """The frames of a record.

        Raises:
            SpoolCorrupt: the record is not as it was written.
        """
        frames, length = self._read_at(location.offset)
        if length != location.length:
            raise SpoolCorrupt(f"{self.path}: the record at {location.offset} has another length")
        return frames

    def _read_at(self, offset: int) -> tuple[list[memoryview], int]:
        head = os.pread(self._file, _HEADER.size, offset)
        if len(head) < _HEADER.size:
            raise _Torn(f"{self.path}: the record at {offset} is cut short")
        magic, length, crc, own = _HEADER.unpack(head)
        if magic not in (_MAGIC, _MAGIC_SUMS) or zlib.crc32(head[:-4]) != own:
            raise SpoolCorrupt(f"{self.path}: the header at {offset} is damaged")
        if offset + _HEADER.size + length > self.size:
            raise _Torn(f"{self.path}: the record at {offset} is cut short")
        body = memoryview(os.pread(self._file, length, offset + _HEADER.size))
        frames = None if len(body) != length else _frames(body, crc, sums=magic == _MAGIC_SUMS)
        if frames is None:
            raise SpoolCorrupt(f"{self.path}: the record at {offset} is damaged")
        return frames, length

    def recover(self) -> Iterator[tuple[Location, list[memoryview]]]:
        """Read all records from the beginning. A torn one at the end is cut off.

        Raises:
            SpoolCorrupt: there is damage before the end.
        """
        offset = 0
        while offset < self.size:
            try:
                frames, length = self._read_at(offset)
            except _Torn:
                os.ftruncate(self._file, offset)
                self.size = offset
                return
            yield Location(offset, length), frames
            offset += _HEADER.size + length

    def close(self) -> None:
        """Close the file."""
        if not self._closed:
            self._closed = True
            os.close(self._file)

    def delete(self) -> None:
        """Close the file and remove it."""
        self.close()
        self.path.unlink(missing_ok=True)


def _frames(body: memoryview, crc: int, *, sums: bool) -> list[memoryview] | None:
    """The frames of a record's body; None if it is not as it was written."""
    if not sums and zlib.crc32(body) != crc:
        return None
    try:
        (count,) = struct.unpack_from("<I", body)
        sizes = struct.unpack_from(f"<{count}Q", body, 4)
    except struct.error:
        return None
    ends = [*accumulate(sizes, initial=4 + 8 * count)]
    frames = [body[start:end] for start, end in pairwise(ends)]
    if ends[-1] != len(body) or (sums and crc_of(bytes(body[: ends[0]]), frames, sums=True) != crc):
        return None
    return frames


class _Torn(SpoolCorrupt):
    """The record runs past the end of the file."""
