"""A process's folder in shared memory, and the removal of folders whose processes have died.

All processes of a user on a host have a folder each, named after their incarnations, in one pool::

    /dev/shm/zturbo-UID/INCARNATION/NUMBER      a segment
    /dev/shm/zturbo-UID/INCARNATION/reads       there as long as this process can read segments of others
    /dev/shm/zturbo-UID/kept-NAME/              contents that records on disk name: see :mod:`.kept`

The pool is for its user alone. A process holds a lock on its folder. The kernel lets go of the lock when the
process ends, however it ends: so any other process can tell that a folder has no owner, and removes it.
``$ZTURBO_SHM`` names another place than ``/dev/shm``; if it is empty, no memory is shared.
"""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

from zturbo.runtime.disk.folders import is_ours, lock_folder, remove_folder

__all__ = ["KEPT", "SharedFolder", "make_folder", "pool_path", "remove", "sweep"]

TRIES = 5
"""Tries to make a folder, while other processes remove an empty pool or sweep it."""

KEPT = "kept-"
"""How names of folders begin that outlive their process."""

_READS = "reads"


def pool_path() -> Path | None:
    """The pool of this user on this host; None if no memory is to be shared. It need not be there."""
    base = os.environ.get("ZTURBO_SHM", "/dev/shm")
    return Path(base, f"zturbo-{os.geteuid()}") if os.path.isabs(base) else None


def sweep() -> None:
    """Remove the folders of this user whose processes have ended."""
    pool = pool_path()
    if pool is None or not is_ours(pool):
        return
    with suppress(OSError):
        for folder in list(pool.iterdir()):
            fd = None if folder.name.startswith(KEPT) else lock_folder(folder)
            if fd is not None:
                remove_folder(folder)
                os.close(fd)


def remove(incarnation: bytes) -> None:
    """Remove the folder of a process of this user that has ended, and the pool if that was the last one."""
    pool = pool_path()
    if pool is not None and is_ours(pool):
        remove_folder(pool / incarnation.hex())
        with suppress(OSError):
            pool.rmdir()


def make_folder(pool: Path, path: str) -> int:
    """Make a folder in the pool, and the pool, and lock it. Returns the descriptor that holds the lock.

    Raises:
        OSError: it cannot be made.
    """
    for _ in range(TRIES):
        with suppress(FileExistsError):
            pool.mkdir(mode=0o700)
        if not is_ours(pool):
            raise PermissionError(f"{pool} is not this user's alone")
        try:
            os.mkdir(path, 0o700)
        except (
            FileNotFoundError,
            FileExistsError,
        ):  # another process removes the pool, or a dead one's folder
            continue
        fd = lock_folder(Path(path))
        if fd is not None:
            return fd
    raise OSError(f"{path} cannot be made")


class SharedFolder:
    """The folder of this process.

    Args:
        incarnation: of this process.
        pool: where it is made.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, incarnation: bytes, pool: Path) -> None:
        self.incarnation = incarnation
        self._pool = str(pool)
        self.path = f"{pool}/{incarnation.hex()}"
        self.lock = make_folder(pool, self.path)
        """Descriptor that holds the lock."""
        self._reads = f"{self.path}/{_READS}"
        os.close(os.open(self._reads, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        self._numbers = itertools.count(1)

    def new(self) -> int:
        """A number for a file that no other file here has had. Thread-safe."""
        return next(self._numbers)

    def file(self, number: int) -> str:
        """The path of the file with this number."""
        return f"{self.path}/{number}"

    def file_of(self, incarnation: bytes, number: int) -> str:
        """The path of a file of another process."""
        return f"{self._pool}/{incarnation.hex()}/{number}"

    def can_read(self, incarnation: bytes) -> bool:
        """Whether another process reads segments of the pool that this one has."""
        return os.access(f"{self._pool}/{incarnation.hex()}/{_READS}", os.F_OK)

    def stop_reading(self) -> None:
        """Let no process refer this one to segments from now on."""
        with suppress(OSError):
            os.unlink(self._reads)

    def room(self, nbytes: int) -> bool:
        """Whether the file system has room for so many bytes, and still a quarter of its size for others."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize - nbytes >= found.f_blocks * found.f_frsize // 4

    def close(self) -> None:
        """Remove it."""
        remove(self.incarnation)
        with suppress(OSError):
            os.close(self.lock)
