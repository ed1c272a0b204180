"""Folders of zturbo's processes: one for sockets, whose path has to be short, and one for state."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from zturbo.checks import LONGEST_IPC
from zturbo.errors import StartError

__all__ = ["is_read_only", "remove_folder", "runtime_dir", "short_enough", "state_folder", "state_problem"]

_BELOW = 34
"""Bytes of a socket's path below the folder in which :func:`runtime_dir` makes a new one, at most."""


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
    import tempfile  # here, because workers and sinks get a folder of their node's

    tried = []
    named = [os.environ.get(name) for name in ("XDG_RUNTIME_DIR", "TMPDIR")]
    wanted = [*named, tempfile.gettempdir(), "/tmp", "/var/tmp"]
    for base in dict.fromkeys(os.path.abspath(folder) for folder in wanted if folder):
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
