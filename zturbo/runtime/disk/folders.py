"""Folders of zturbo's processes: one for sockets, whose path has to be short, and one for state.

A node holds a lock on its folder for sockets. The kernel lets go of it when the node ends, however that is.
So another node can tell that the folder has no owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from zturbo.checks import LONGEST_IPC
from zturbo.errors import StartError

__all__ = [
    "is_ours",
    "is_read_only",
    "lock_folder",
    "remove_folder",
    "runtime_dir",
    "short_enough",
    "state_folder",
    "state_problem",
    "sweep_runtime_dirs",
]

_BELOW = 34
"""Bytes of a socket's path below the folder in which :func:`runtime_dir` makes a new one, at most."""


QUIET = 60.0
"""Seconds for which nothing has come to a folder without an owner, or gone from it, before it is removed. The
children of a node that has died end meanwhile, and remove what is theirs."""

_OF_NODE, _OF_CHILD = re.compile(r"zturbo-[a-z0-9_]{8}"), re.compile(r"[0-9a-f]{8}")
"""Names of a node's folder, and of the folders in it."""


def short_enough(folder: str) -> bool:
    """Whether the kernel takes the paths of sockets below a folder that is made in this one."""
    return len(os.fsencode(folder)) + _BELOW <= LONGEST_IPC


def runtime_dir(prefix: str = "zturbo-") -> Path:
    """A new folder for this process's ipc sockets, for its user alone.

    It is made in ``$XDG_RUNTIME_DIR``, else in ``$TMPDIR``, else in ``/tmp``. A folder is passed over if it
    is not there, cannot be written, or has too long a path.

    Raises:
        StartError: none of them will do.
    """
    import tempfile

    tried = []
    for base in _bases():
        if not short_enough(base):
            tried.append(f"{base}: its path has more than {LONGEST_IPC - _BELOW} bytes")
            continue
        try:
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        except OSError as error:
            tried.append(f"{base}: {error.strerror}")
            continue
        path.chmod(0o700)
        return path
    raise StartError(
        f"there is no folder for sockets ({'; '.join(tried)}): let TMPDIR name one that is there, can "
        "be written, and has a short path"
    )


def _bases() -> list[str]:
    """Folders in which one for sockets is made, in the order in which they are tried."""
    import tempfile  # here, because workers and sinks get a folder of their node's

    named = [os.environ.get(name) for name in ("XDG_RUNTIME_DIR", "TMPDIR")]
    wanted = [*named, tempfile.gettempdir(), "/tmp", "/var/tmp"]
    return list(dict.fromkeys(os.path.abspath(folder) for folder in wanted if folder))


def is_ours(folder: Path) -> bool:
    """Whether this is this user's folder, for this user alone: others can write to ``/dev/shm``, too."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def lock_folder(folder: Path) -> int | None:
    """Lock a folder. Returns the descriptor that holds the lock; None if another process has it."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), folder.lstat()):  # it may have been removed before it was locked
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def sweep_runtime_dirs(own: Path) -> None:
    """Remove this user's folders of nodes that were killed together with all of their children.

    Such a folder may have a file of gigabytes: what an ordered stage could not hold in memory. A folder that
    has anything in it that no node puts there is left alone.

    Args:
        own: a folder that was made just now, so that its time is the present one.
    """
    import shutil

    before = own.stat().st_mtime - QUIET
    for base in _bases():
        with suppress(OSError):
            for folder in list(Path(base).iterdir()):
                if _OF_NODE.fullmatch(folder.name) and _is_left(folder, before):
                    fd = lock_folder(folder)
                    if fd is not None:
                        shutil.rmtree(folder, ignore_errors=True)
                        os.close(fd)


def _is_left(folder: Path, before: float) -> bool:
    """Whether this may be the folder of a node that has died a while ago, before a time."""
    try:
        if not is_ours(folder) or folder.lstat().st_mtime > before:
            return False
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        return bool(names) and len(names) == len(os.listdir(folder)) and all(map(_OF_CHILD.fullmatch, names))
    except OSError:
        return False


def remove_folder(folder: Path) -> None:
    """Remove a folder that has no folders in it, as far as that can be done.

    ``shutil`` does more, but no worker needs that, and its import takes a hundredth of a worker's start.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            with suppress(OSError):
                path.unlink()
        folder.rmdir()


def is_read_only(folder: Path) -> bool:
    """Whether this folder's disk is read-only."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def state_folder(path: Path) -> None:
    """Make a folder for state, if it is not there, for its user alone.

    Raises:
        StartError: it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _refused(path, error.strerror) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise _refused(path, os.strerror(errno.EROFS) if is_read_only(path) else os.strerror(errno.EACCES))


def state_problem(path: Path) -> str:
    """Why :func:`state_folder` would refuse a folder, as far as can be told without making it; or empty."""
    there = next((folder for folder in (path, *path.parents) if os.path.lexists(folder)), Path("/"))
    if not there.is_dir():
        return str(_refused(path, f"{there} is not a folder"))
    if os.access(there, os.W_OK | os.X_OK):
        return ""
    return str(_refused(path, os.strerror(errno.EROFS if is_read_only(there) else errno.EACCES)))


def _refused(path: Path, why: str | None) -> StartError:
    return StartError(
        f"the folder {path} cannot be written: {why}. Name another one for state: --state, "
        "$ZTURBO_STATE, 'state' in [broker], or state_dir of a System"
    )
