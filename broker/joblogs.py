"""The lines that stages have printed and logged for a job: on disk, as long as the job is kept.

Each job that has lines has a file of its own, beside the ledger. Nothing depends on it: a line that cannot be
written is left out, and no file is synced.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import msgpack

from zturbo.errors import DecodeError
from zturbo.wire.control.answers import LogEntry

__all__ = ["JobLogs"]

log = logging.getLogger("zturbo.broker")

LARGEST = 1 << 20
"""Bytes of a job's file at most."""

SPARE = 1 << 30
"""Bytes that are left free on the disk: the ledger needs them more."""

FULL = "the job has more lines than are kept; the files of its workers have the others"


class JobLogs:
    """The files.

    Args:
        folder: where they are; it is made with the first line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, job: bytes) -> Path:
        return self._folder / job.hex()

    def clean(self, known: Callable[[bytes], bool]) -> None:
        """Remove the files of jobs that are not known any more."""
        try:
            for path in self._folder.iterdir():
                if len(path.name) == 32 and not known(bytes.fromhex(path.name)):
                    path.unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            log.debug("the folder of jobs' lines was not cleaned: %s", error)

    def add(self, job: bytes, entries: list[LogEntry]) -> None:
        """Keep these lines of a job that is known, or of jobs that it carries."""
        try:
            self._append(self._path(job), entries)
        except OSError as error:
            log.debug("lines of a job are not kept: %s", error)

    def _append(self, path: Path, entries: list[LogEntry]) -> None:
        self._folder.mkdir(exist_ok=True, mode=0o700)
        if shutil.disk_usage(self._folder).free < SPARE:
            return
        with path.open("ab") as file:
            size = file.tell()
            for entry in entries:
                if size > LARGEST:
                    return
                packed = msgpack.packb(entry.to_wire())
                size += len(packed)
                if size > LARGEST:
                    packed = msgpack.packb(entry.but(level="WARNING", text=FULL).to_wire())
                file.write(packed)

    def read(self, job: bytes) -> list[LogEntry]:
        """The lines that are kept of a job. A file that was cut off or damaged gives those before that."""
        found: list[LogEntry] = []
        try:
            raw = self._path(job).read_bytes()[: LARGEST + (1 << 16)]
        except OSError:
            return found
        unpacker = msgpack.Unpacker(raw=False, use_list=False)
        unpacker.feed(raw)
        try:
            found.extend(LogEntry.from_wire(value) for value in unpacker)
        except (DecodeError, ValueError, msgpack.UnpackException) as error:
            log.debug("lines of job %s cannot be read: %s", job.hex(), error)
        return found

    def drop(self, job: bytes) -> None:
        """The job is forgotten."""
        try:
            self._path(job).unlink(missing_ok=True)
        except OSError as error:
            log.debug("lines of a job that is forgotten stay: %s", error)
