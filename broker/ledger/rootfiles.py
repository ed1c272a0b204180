"""Large chunks of roots, beside the ledger: one file of records for each job that has such chunks.

A database takes many times as long for a large value as a file does. So the ledger's row of a large chunk
tells where in the job's file it is. A chunk is in the file before its row is in the ledger, and a file is
removed after its last row. So a crash may leave a file, or records, that no row names: the next broker
removes the one, and the others do no harm.

Roots that lie in shared memory stay there where that is safe enough (:mod:`zturbo.runtime.shared.kept`). Then
the row names them, and has the rest of the chunk itself.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from zturbo.runtime.disk.behind import WriteBehind
from zturbo.runtime.disk.spool import Location, Spool, SpoolCorrupt
from zturbo.runtime.shared.kept import KeptContents, kept_numbers
from zturbo.wire.messages import Buffer

__all__ = ["RootFiles", "RootsUnreadable"]

OPEN = 64
"""Files that are open at once."""

SLOW_FROM = 32 << 20
"""Bytes from which on the removal of a file takes so long that a thread does it."""


SMALL = 4 << 10
"""Bytes of a chunk at most beside its contents that stay in shared memory."""


class RootsUnreadable(SpoolCorrupt):
    """A chunk is not in its file as it was written there."""


class RootFiles:
    """The files of one ledger.

    Args:
        folder: where they are; it is made with the first of them.
        contents: what stays in shared memory; None if nothing does.
    """

    def __init__(self, folder: Path, contents: KeptContents | None = None) -> None:
        self._folder = folder
        self._contents = contents
        self._kept: dict[bytes, deque[tuple[int, list[int]]]] = {}
        """Job -> (chunk, its contents) of each chunk whose contents are in shared memory."""
        self._open: OrderedDict[bytes, Spool] = OrderedDict()
        """Job -> its file, the one that was used last at the end."""
        self._jobs: set[bytes] = set()
        """Jobs that have a file."""
        self._places: dict[bytes, deque[tuple[int, int]]] = {}
        """Job -> (chunk, where its record begins) of each chunk in its file that this process has written."""
        self._behind = WriteBehind()
        self._unsynced: set[bytes] = set()
        """Jobs whose files have records that may not be on the disk yet."""

    def _path(self, job: bytes) -> Path:
        return self._folder / job.hex()

    def _file(self, job: bytes) -> Spool:
        file = self._open.get(job)
        if file is None:
            while len(self._open) >= OPEN:
                other, oldest = next(iter(self._open.items()))
                if other in self._unsynced:
                    oldest.sync()
                    self._unsynced.discard(other)
                del self._open[other]
                oldest.close()
            file = self._open[job] = Spool(self._path(job), self._behind)
        self._open.move_to_end(job)
        return file

    def append(self, job: bytes, seq: int, frames: Sequence[Buffer]) -> Location:
        """Write a chunk to its job's file. It outlives this process, and after :meth:`sync` the host.

        Args:
            job: its id.
            seq: number of the chunk.
            frames: of the chunk.

        Raises:
            SpoolFull: there is no room; nothing was written.
            OSError: the file cannot be written.
        """
        if job not in self._jobs:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._jobs.add(job)
        place = self._file(job).append([seq.to_bytes(8, "big"), *frames])
        self._places.setdefault(job, deque()).append((seq, place.offset))
        self._unsynced.add(job)
        return place

    def keep(self, job: bytes, seq: int, frames: Sequence[Buffer]) -> list[Buffer] | None:
        """Let a chunk's contents stay in shared memory. They outlive this process, but not the host.

        Returns:
            The frames of a small record that names them, for the chunk's row; None if they are not there, or
            there is no room.
        """
        if self._contents is None:
            return None
        record = self._contents.keep(frames)
        if not (numbers := kept_numbers(record)):
            return None
        if sum(memoryview(frame).nbytes for frame in record) > SMALL:
            self._contents.free(numbers)
            return None
        self._kept.setdefault(job, deque()).append((seq, numbers))
        return record

    def kept(self, record: Sequence[Buffer]) -> list[Buffer]:
        """The frames of a chunk, of a record that :meth:`keep` has given.

        Raises:
            RootsUnreadable: they are not there as they were.
        """
        try:
            if self._contents is None:
                raise RootsUnreadable("contents in shared memory are not looked for")
            return self._contents.frames(record)
        except (OSError, SpoolCorrupt) as error:
            raise RootsUnreadable(str(error)) from None

    def sync(self) -> None:
        """Return once all that was appended is on the disk.

        Raises:
            OSError: a file cannot be written.
        """
        for job in list(self._unsynced):
            self._open[job].sync()
            self._unsynced.discard(job)

    def written(self) -> None:
        """What was appended need not be synced: it is of jobs that may be lost with the host."""
        self._unsynced.clear()

    def read(self, job: bytes, seq: int, place: Location) -> list[memoryview]:
        """The frames of a chunk.

        Raises:
            RootsUnreadable: it is not there as it was written.
        """
        try:
            if job not in self._jobs:
                raise RootsUnreadable(f"{self._path(job)} is not there")
            number, *frames = self._file(job).read(place)
        except (OSError, SpoolCorrupt) as error:
            raise RootsUnreadable(str(error)) from None
        if number != seq.to_bytes(8, "big"):
            raise RootsUnreadable(f"{self._path(job)}: another chunk is at {place.offset}")
        return frames

    def trim(self, job: bytes, seq: int) -> None:
        """Give back the space of a job's chunks before this one. No row of the ledger names them any more."""
        kept, numbers = self._kept.get(job), []
        while kept and kept[0][0] < seq:
            numbers += kept.popleft()[1]
        if numbers and self._contents is not None:
            self._contents.free(numbers)
        places = self._places.get(job)
        if not places:
            return
        before = places[0][0]
        while len(places) > 1 and places[1][0] <= seq:
            places.popleft()
        if places[0][0] != before:
            self._file(job).punch(places[0][1])

    def remove(self, job: bytes) -> None:
        """Remove a job's file, if it has one, and its contents. No row of the ledger names them any more."""
        if self._contents is not None and (kept := self._kept.pop(job, None)):
            self._contents.free([number for _, numbers in kept for number in numbers])
        if job not in self._jobs:
            return
        self._jobs.discard(job)
        self._places.pop(job, None)
        file = self._open.pop(job, None)
        self._unsynced.discard(job)
        path = self._path(job)
        if file is None:
            _unlink(path)
        elif file.size < SLOW_FROM:
            file.close()
            _unlink(path)
        else:
            _unlink(path)  # the kernel frees the pages when it is closed
            threading.Thread(target=file.close, daemon=True).start()

    def recover(
        self, jobs: Collection[bytes], records: Iterable[tuple[bytes, int, Sequence[Buffer]]]
    ) -> None:
        """Take what an earlier broker has left, and remove what no row names.

        Args:
            jobs: those with rows.
            records: (job, chunk, record) of each chunk whose contents stay in shared memory, in order.
        """
        names = {job.hex() for job in jobs}
        with suppress(FileNotFoundError):
            for path in list(self._folder.iterdir()):
                if path.name in names:
                    self._jobs.add(bytes.fromhex(path.name))
                else:
                    _unlink(path)
        named: list[int] = []
        for job, seq, record in records:
            with suppress(SpoolCorrupt):  # it is told when the chunk is read
                numbers = kept_numbers(record)
                self._kept.setdefault(job, deque()).append((seq, numbers))
                named += numbers
        if self._contents is not None:
            self._contents.recovered(named)

    def close(self) -> None:
        """Close all files; remove the folder if it is empty. Contents in shared memory move to the disk."""
        if self._contents is not None:
            self._contents.close()
        for file in self._open.values():
            file.close()
        self._open.clear()
        with suppress(OSError):
            self._folder.rmdir()


def _unlink(path: Path) -> None:
    with suppress(OSError):  # one that stays is removed at the next start
        os.unlink(path)
