"""How long each spool file has to be, noted apart from it: this shows that a file has lost its end.

A record at the end of a spool may be cut short for two reasons. Either a crash broke off its write: then it
was never acked, and is not missed. Or records that were acked have been cut off. The file ``safe`` tells the
two apart. It is written before an ack, and not synced. Its entries outlive the process.
After a death of the host an entry may be an older one, which tells of fewer bytes. An entry that cannot be
read counts as none.

An entry is 32 bytes: the job (16), its spool's size in bytes (8), CRC-32 of both (4), and four zeros.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib
from pathlib import Path

__all__ = ["SafeSizes"]

log = logging.getLogger("zturbo.sink")

_RECORD = struct.Struct("<16sQI4x")
_GROW = 1024
"""Entries that room is made for at once: a disk that is full later has it already."""


class SafeSizes:
    """Job -> bytes of its spool that were acked. May be used from more than one thread.

    Args:
        path: the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()
        self._positions: dict[bytes, int] = {}
        self._sizes: dict[bytes, int] = {}
        self._room = os.fstat(self._file).st_size // _RECORD.size
        self._free: list[int] = []
        for position in range(self._room):
            raw = os.pread(self._file, _RECORD.size, position * _RECORD.size)
            job, size, crc = _RECORD.unpack(raw)
            if any(raw) and zlib.crc32(raw[:24]) == crc and job not in self._positions:
                self._positions[job] = position
                self._sizes[job] = size
            else:
                self._free.append(position)

    def __getitem__(self, job: bytes) -> int:
        """Bytes that a job's spool has to have; 0 if none were acked."""
        return self._sizes.get(job, 0)

    def jobs(self) -> list[bytes]:
        """Jobs whose spool has to be there."""
        return list(self._positions)

    def add(self, job: bytes) -> None:
        """Make an entry for a job whose spool has been begun."""
        with self._lock:
            if job in self._positions:
                return
            if not self._free:
                try:
                    os.posix_fallocate(self._file, self._room * _RECORD.size, _GROW * _RECORD.size)
                except OSError as error:
                    log.warning("no room to note the size of job %s's spool: %s", job.hex(), error)
                    return
                self._free = list(range(self._room + _GROW - 1, self._room - 1, -1))
                self._room += _GROW
            self._positions[job] = self._free.pop()
            self._sizes[job] = 0

    def note(self, job: bytes, size: int) -> None:
        """Note that so many bytes of a job's spool are safe, if the job still has an entry."""
        with self._lock:
            position = self._positions.get(job)
            if position is None or size <= self._sizes[job]:
                return
            self._sizes[job] = size
            head = job + size.to_bytes(8, "little")
            self._write(position, _RECORD.pack(job, size, zlib.crc32(head)))

    def drop(self, job: bytes) -> None:
        """Remove the entry of a job, whose spool is going to be removed."""
        with self._lock:
            position = self._positions.pop(job, None)
            if position is not None:
                del self._sizes[job]
                self._write(position, bytes(_RECORD.size))
                self._free.append(position)

    def _write(self, position: int, raw: bytes) -> None:
        try:
            os.pwrite(self._file, raw, position * _RECORD.size)
        except OSError as error:  # the entry before it stays, and is true too
            log.debug("a spool's size was not noted: %s", error)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
