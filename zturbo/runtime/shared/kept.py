"""Contents that stay in shared memory although a record on disk has them: results that are about to be read,
and roots of jobs that run.

To copy a frame into a file costs many times what its reference costs, most of it for the file's new pages.
What is to outlive any process, but not the host, need not be in a file at once. So a record names the
segments of its large buffers, and a *kept folder* in the pool has a hard link to each::

    /dev/shm/zturbo-UID/kept-NAME/NUMBER      a segment
    /dev/shm/zturbo-UID/kept-NAME/disk        the path of the folder that they move to

A segment that stays moves to the disk after a while (:mod:`.moved`). Its record does not change by that. The
folder's owner holds a lock on it, as with all folders of the pool. If the owner dies, its successor finds the
segments here. If there is none for a while, a node moves them.
"""

from __future__ import annotations

import ctypes
import logging
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgpack

from zturbo.errors import StartError
from zturbo.runtime.disk.folders import is_ours, lock_folder, remove_folder
from zturbo.runtime.disk.spool import SpoolCorrupt
from zturbo.runtime.shared.extent import Extent, map_file, unmap
from zturbo.runtime.shared.folder import KEPT, make_folder, pool_path
from zturbo.runtime.shared.moved import MovedSegments, Place
from zturbo.wire.messages import Buffer

__all__ = ["AbandonedContents", "KeptContents", "kept_numbers"]

log = logging.getLogger("zturbo")

MOST_BYTES = 256 << 20
"""Bytes of segments in a kept folder at most, and an eighth of the file system. What comes then goes into the
record. A process that writes segments has twice as many, so it finds one whose pages are there."""

MOST = 128
"""Segments in a kept folder at most. A process that has many more of other processes copies what comes."""

HIGH = 7 / 8
"""The part of these bytes above which the oldest segment moves at once."""

AGE = 2.0
"""Seconds after which a segment moves. A reader that keeps up has taken it before."""

RETRY = 1.0
"""Seconds after which a move is tried again."""

ABANDONED = 30.0
"""Seconds without an owner after which a node moves what is in a folder."""

PATIENCE = 30.0
"""Seconds for which a process that starts waits for one that moves what its predecessor has left."""

_MARK = b"ztk1"
"""The first bytes of a frame that names segments. No record's own first frame begins with them."""

_DISK = "disk"


def kept_numbers(record: Sequence[Buffer]) -> list[int]:
    """The segments that a record names."""
    return [number for _, number, _, _ in _names(record)] if _has_names(record) else []


def _has_names(record: Sequence[Buffer]) -> bool:
    return len(record) > 1 and bytes(record[0][: len(_MARK)]) == _MARK


def _names(record: Sequence[Buffer]) -> list[tuple[int, int, int, int]]:
    """(index of the frame, segment, offset in it, bytes) of each."""
    try:
        found = msgpack.unpackb(bytes(record[0][len(_MARK) :]))
        return [(int(index), int(number), int(start), int(n)) for index, number, start, n in found]
    except (ValueError, TypeError, msgpack.UnpackException):
        raise SpoolCorrupt("a record's names of segments cannot be read") from None


class _Segment:
    __slots__ = ("at", "size", "view")

    def __init__(self, size: int, at: float, view: Any) -> None:
        self.size = size
        self.at = at
        self.view = view
        """This process's view of the content; None if an earlier process has linked it."""


class KeptContents:
    """The kept contents of one folder of records. Its owner uses it in one thread; another moves segments.

    Args:
        name: of the folder of records, unique on this host, and the same for each process that has it.
        disk: folder for segments that move; made when it is needed.

    Raises:
        StartError: another process has the folder.
    """

    def __init__(self, name: str, disk: Path) -> None:
        pool = pool_path()
        self._pool = pool if pool is not None and os.path.isdir(pool.parent) else None
        self._folder = f"{self._pool}/{KEPT}{name}"
        self._disk = disk
        self._lock_fd: int | None = None
        """Descriptor that holds the lock on the folder; None while there is no folder."""
        self._wake = threading.Condition()
        self._segments: OrderedDict[int, _Segment] = OrderedDict()
        """Those in shared memory, the oldest first."""
        self.nbytes = 0
        """Of these."""
        self._most = MOST_BYTES
        """Bytes that there may be, as the file system was last seen."""
        self._freed: list[Place] = []
        """Where segments that are not needed any more lie on the disk: the thread gives that back."""
        self._thread: threading.Thread | None = None
        self._closing = False
        self._told = False
        if self._pool is not None and is_ours(self._pool):
            self._find()
        self.moved = MovedSegments(disk)
        self._next = 1 + max((*self._segments, *self.moved.numbers()), default=0)

    def _find(self) -> None:
        """Take what an earlier process has left."""
        self._lock_fd = _lock(self._folder)
        if self._lock_fd is not None:
            for number in _numbers(self._folder):
                size = os.stat(f"{self._folder}/{number}", follow_symlinks=False).st_size
                self._segments[number] = _Segment(size, monotonic(), None)
                self.nbytes += size

    # -- records ------------------------------------------------------------------------------
    def keep(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """The frames of a record, with names in place of buffers that are kept where they lie.

        A buffer that lies in no segment, or in a small part of one, stays in the record; and so does one for
        which there is no room. If no buffer is kept, the frames are as they were.
        """
        names = []
        rest: list[Buffer] = []
        for index, frame in enumerate(frames):
            extent: Any = frame.obj if type(frame) is memoryview else None
            number = self._keep(extent, frame) if isinstance(extent, Extent) else None
            if number is None:
                rest.append(frame)
            else:
                names.append((index, number, extent.reference.offset, memoryview(frame).nbytes))
        return [_MARK + msgpack.packb(names), *rest] if names else list(frames)

    def _keep(self, extent: Extent, view: Any) -> int | None:
        """Link a segment. Returns its number here; None if it is not to be kept."""
        if self._pool is None:
            return None
        source = f"{self._pool}/{extent.owner.hex()}/{extent.reference.number}"
        try:
            found = os.stat(source, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or view.nbytes < found.st_size // 2:
                return None
            if self._lock_fd is None:
                self._lock_fd = self._make(self._pool)
            if not self._has_room(found.st_size):
                return None
            number = self._next
            os.link(source, f"{self._folder}/{number}", follow_symlinks=False)
        except OSError as error:  # something has cleaned the pool
            log.debug("a content is not kept in shared memory: %s", error)
            return None
        self._next += 1
        with self._wake:
            self._segments[number] = _Segment(found.st_size, monotonic(), view)
            self.nbytes += found.st_size
            self._begin()
        return number

    def _make(self, pool: Path) -> int:
        fd = make_folder(pool, self._folder)
        try:
            Path(self._folder, _DISK).write_bytes(os.fsencode(os.path.abspath(self._disk)))
        except BaseException:
            remove_folder(Path(self._folder))
            os.close(fd)
            raise
        return fd

    def _has_room(self, size: int) -> bool:
        assert self._lock_fd is not None
        found = os.fstatvfs(self._lock_fd)
        if len(self._segments) >= MOST:
            return False
        total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
        self._most = min(MOST_BYTES, total // 8)
        return self.nbytes + size <= self._most and free >= total // 4

    def frames(self, record: Sequence[Buffer]) -> list[Buffer]:
        """The frames of a record, as they were given to :meth:`keep`.

        Raises:
            SpoolCorrupt: a segment is gone, or is not as it was.
        """
        if not _has_names(record):
            return list(record)
        out = list(record[1:])
        for index, number, start, nbytes in _names(record):
            if not 0 <= index <= len(out):
                raise SpoolCorrupt("a record's names of segments are in disorder")
            out.insert(index, self._content(number, start, nbytes))
        return out

    def without(self, record: Sequence[Buffer]) -> list[Buffer]:
        """The frames of a record, with nothing in place of what was kept."""
        out = list(record[1:]) if _has_names(record) else list(record)
        for index, *_ in _names(record) if _has_names(record) else ():
            out.insert(index, b"")
        return out

    def _content(self, number: int, start: int, nbytes: int) -> memoryview:
        with self._wake:
            here = self._segments.get(number)
        if here is not None and here.view is not None:
            return memoryview(here.view)
        if here is not None:
            with suppress(FileNotFoundError), _mapped(f"{self._folder}/{number}") as segment:
                if start + nbytes > segment.nbytes:
                    raise SpoolCorrupt(f"{self._folder}/{number} is shorter than its record says")
                return memoryview(bytes(segment[start : start + nbytes]))
        return self.moved.read(number, start, nbytes)  # it may have moved just now

    def free(self, numbers: Collection[int]) -> None:
        """These segments are not needed any more."""
        moved = []
        for number in numbers:
            with self._wake:
                segment = self._segments.pop(number, None)
                if segment is None:
                    moved.append(number)
                    continue
                self.nbytes -= segment.size
            with suppress(OSError):
                os.unlink(f"{self._folder}/{number}")
        places = self.moved.forget(moved)
        if self._thread is None:
            self.moved.give_back(places)
        elif places:
            with self._wake:
                self._freed += places
                self._wake.notify()

    def recovered(self, named: Iterable[int]) -> None:
        """All records were read, and name these segments. Frees all others; these move after a while."""
        wanted = set(named)
        self.free([one for one in (*self._segments, *self.moved.numbers()) if one not in wanted])
        self._next = max(self._next, 1 + max(wanted, default=0))
        with self._wake:
            if self._segments:
                self._begin()

    # -- moving -------------------------------------------------------------------------------
    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="kept", daemon=True)
            self._thread.start()
        elif self.nbytes > HIGH * self._most or len(self._segments) == 1:
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                number = self._due()
                freed, self._freed = self._freed, []
            self.moved.give_back(freed)
            if number is None:
                if not freed:
                    return
                continue
            try:
                self.move(number, direct=True)
            except OSError as error:
                self._tell(error)
                with self._wake:
                    self._wake.wait_for(lambda: self._closing, RETRY)

    def _due(self) -> int | None:
        """Wait until a segment is to move; None if some are to be freed first, and at the end."""
        while not self._closing and not self._freed:
            oldest = next(iter(self._segments.items()), None)
            if oldest is None:
                self._wake.wait()
                continue
            left = oldest[1].at + AGE - monotonic()
            if left <= 0 or self.nbytes > HIGH * self._most:
                return oldest[0]
            self._wake.wait(left)
        return None

    def move(self, number: int, *, direct: bool = True) -> None:
        """Move a segment to the disk, if it is in memory still.

        Args:
            number: of the segment.
            direct: past the page cache, where the file system can do that.

        Raises:
            OSError: it cannot be written there.
        """
        with self._wake:
            segment = self._segments.get(number)
        if segment is None:
            return
        path = f"{self._folder}/{number}"
        try:
            if segment.view is not None:
                extent: Any = segment.view.obj
                start = ctypes.addressof(extent) - extent.reference.offset
                self.moved.add(number, _memory(start, segment.size), direct=direct)
            else:
                with _mapped(path) as content:
                    self.moved.add(number, content, direct=direct)
        except FileNotFoundError as error:
            if error.filename != path:
                raise
            log.error("%s is gone: something has cleaned the pool", path)
        with self._wake:
            if self._segments.pop(number, None) is None:  # it was freed meanwhile
                self.moved.free((number,))
            else:
                self.nbytes -= segment.size
        with suppress(OSError):
            os.unlink(path)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("contents in shared memory cannot move to %s: %s", self._disk, error)

    def close(self) -> None:
        """Move what is left to the disk, and remove the folder. What cannot move stays, for a successor."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._lock_fd is not None:
            try:
                for number in list(self._segments):
                    self.move(number, direct=False)
            except OSError as error:
                self._tell(error)
            else:
                _remove(self._folder)
            os.close(self._lock_fd)
            self._lock_fd = None
        self.moved.close()


def _lock(folder: str) -> int | None:
    """Lock a folder, if it is there. A node may be moving what an earlier process has left: wait for that."""
    until = monotonic() + PATIENCE
    while os.path.isdir(folder):
        fd = lock_folder(Path(folder))
        if fd is not None:
            return fd
        if monotonic() > until:
            raise StartError(f"{folder} is in use by another process: end it, or remove the folder")
        sleep(0.02)
    return None


def _numbers(folder: str) -> list[int]:
    return sorted(int(name) for name in os.listdir(folder) if name.isdigit())


def _memory(address: int, size: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


@contextmanager
def _mapped(path: str) -> Iterator[memoryview]:
    """A segment as a file, mapped for reading."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        address = map_file(fd, size, writable=False)
    finally:
        os.close(fd)
    try:
        yield _memory(address, size)
    finally:
        unmap(address, size)


def _remove(folder: str) -> None:
    remove_folder(Path(folder))
    with suppress(OSError):
        os.rmdir(os.path.dirname(folder))


# -- folders without an owner -----------------------------------------------------------------
class AbandonedContents:
    """Kept folders of this user without an owner: a node looks for them now and then."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        """Folder -> when it was first seen without an owner."""

    def look(self, now: float) -> threading.Thread | None:
        """Remove what no folder of records can name; move the rest to the disk after a while, for the owner's
        successor. Returns the thread that moves."""
        pool = pool_path()
        before, self._since = self._since, {}
        if pool is None or not is_ours(pool):
            return None
        abandoned = []
        with suppress(OSError):
            for folder in list(pool.glob(f"{KEPT}*")):
                fd = lock_folder(folder)
                if fd is None:
                    continue
                since = self._since[str(folder)] = before.get(str(folder), now)
                disk = _disk_of(folder)
                if disk is None or not disk.parent.is_dir():
                    _remove(str(folder))
                elif now >= since + ABANDONED:
                    abandoned.append((str(folder), disk, fd))
                    continue
                os.close(fd)
        if not abandoned:
            return None
        thread = threading.Thread(target=_move_abandoned, args=(abandoned,), name="abandoned", daemon=True)
        thread.start()
        return thread


def _disk_of(folder: Path) -> Path | None:
    try:
        return Path(os.fsdecode((folder / _DISK).read_bytes()))
    except OSError:
        return None


def _move_abandoned(folders: list[tuple[str, Path, int]]) -> None:
    for folder, disk, fd in folders:
        log.info("moving contents of a process that has died to %s", disk)
        moved = MovedSegments(disk)
        try:
            for number in _numbers(folder):
                with _mapped(f"{folder}/{number}") as content:
                    moved.add(number, content)
                os.unlink(f"{folder}/{number}")
            _remove(folder)
        except OSError as error:
            log.warning("contents in shared memory cannot move to %s: %s", disk, error)
        finally:
            moved.close()
            os.close(fd)
