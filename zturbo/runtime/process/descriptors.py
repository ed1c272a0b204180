"""A worker's file descriptors, which the stage's code can close, as any code of a process can.

The few that Python owns lie above those that code closes in bulk (``os.closerange(3, 1000)``). Those of
libzmq cannot be moved. libzmq aborts when it next uses one that is closed, at a moment that says nothing of
the cause. So the worker looks after each piece of work whether they are there, and ends while that work is
still noted as running.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import stat
from collections.abc import Set
from contextlib import suppress

from zturbo.runtime.process.running import RunningNote
from zturbo.wire.messages import Path

__all__ = ["LOST_DESCRIPTORS", "Descriptors", "Watched", "opened", "out_of_the_way"]

LOST_DESCRIPTORS = 71
"""Exit code of a worker whose descriptors were closed by the stage's code; as ``EX_OSERR`` of sysexits.h."""

ABOVE = 1024, 1 << 15
"""Moved above the usual limit, but no further than this: the kernel's table grows with the number."""

ROOM = 64
"""Numbers that are free for what is moved."""


def out_of_the_way(fd: int) -> int:
    """Move a descriptor to a high number, where there is one; it is not inherited. Returns its number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    high = 1 << 62 if hard == resource.RLIM_INFINITY else hard
    base = min(max(ABOVE[0], min(soft, ABOVE[1])), high - ROOM)
    if base <= fd:
        os.set_inheritable(fd, False)
        return fd
    raised = soft != resource.RLIM_INFINITY and soft < base + ROOM
    try:
        if raised:
            resource.setrlimit(resource.RLIMIT_NOFILE, (base + ROOM, hard))
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, base)
        finally:
            if raised:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    except (OSError, ValueError):
        os.set_inheritable(fd, False)
        return fd
    os.close(fd)
    return moved


def opened() -> set[int]:
    """The descriptors that this process has now."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the folder itself
            os.fstat(int(name))
            found.add(int(name))
    return found


class Descriptors:
    """Those that have to stay as long as the worker lives.

    Connections come and go, so they are not among them.

    Args:
        fds: what the worker has opened; those are taken that are neither connections nor plain files.
        loop: those of the stage's event loop, all of which are taken: it would spin or never wake again.
    """

    def __init__(self, fds: Set[int], loop: Set[int] = frozenset()) -> None:
        taken = [fd for fd in sorted(fds) if _identity(fd) and _stays(fd)]
        self._expected = [(fd, found) for fd in [*taken, *sorted(loop)] if (found := _identity(fd))]

    def there(self) -> bool:
        """Whether all of them are what they were. A few microseconds.

        Standard input, output and error that are closed become ``/dev/null``. Else a socket of libzmq would
        get such a number, and with it what is printed.
        """
        _mend_standard()
        try:
            for fd, expected in self._expected:
                found = os.fstat(fd)
                if (found.st_dev, found.st_ino) != expected:
                    return False
        except OSError:
            return False
        return True


def _mend_standard() -> None:
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
            if null != fd:  # another thread was faster
                os.close(null)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stays(fd: int) -> bool:
    """Whether it is an eventfd or epoll of ours, or a socket that listens."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return os.readlink(f"/proc/self/fd/{fd}").startswith("anon_inode:")
    with socket.socket(fileno=os.dup(fd)) as found:
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


class Watched:
    """A note for work with suspects: it looks after each task, so that the one to blame is named.

    Args:
        running_note: the note itself.
        descriptors: those that have to be there.
    """

    def __init__(self, running_note: RunningNote, descriptors: Descriptors) -> None:
        self.running_note = running_note
        self._descriptors = descriptors
        self.given, self.read = running_note.given, running_note.read

    def _look(self) -> None:
        if not self._descriptors.there() and self.running_note.read():
            os._exit(LOST_DESCRIPTORS)

    def begin(self, job: bytes, epoch: int, prefix: Path, root: bool) -> None:
        """As the note has it."""
        self._look()
        self.running_note.begin(job, epoch, prefix, root)

    def several(self, job: bytes, epoch: int, paths: list[Path]) -> None:
        """As the note has it."""
        self._look()
        self.running_note.several(job, epoch, paths)

    def nearest(self, job: bytes, epoch: int, paths: list[Path]) -> None:
        """As the note has it."""
        self._look()
        self.running_note.nearest(job, epoch, paths)

    def task(self, k: int) -> None:
        """As the note has it."""
        self._look()
        self.running_note.task(k)

    def end(self) -> None:
        """As the note has it."""
        self._look()
        self.running_note.end()
