"""A worker's own file descriptors: the stage's code can close them, as any code of a process can.

The worker moves Python's own descriptors above the numbers that code closes in bulk (``os.closerange``). The
descriptors of libzmq cannot be moved. When libzmq next uses a closed one, it aborts the process, at a moment
that tells nothing of the cause. So after each piece of work, or after some quick ones, the worker checks
whether all are there. If not, it ends, and all work since the last check is noted as running.
"""

from __future__ import annotations

import _socket as socket  # all that is used of socket, whose import takes ten times as long
import fcntl
import os
import resource
import select
import stat
from collections.abc import Set
from contextlib import suppress

from zturbo.runtime.process.running import RunningNote
from zturbo.wire.messages import Path

__all__ = ["LOST_DESCRIPTORS", "Descriptors", "Watched", "opened", "out_of_the_way"]

LOST_DESCRIPTORS = 71
"""Exit code of a worker whose descriptors the stage's code has closed; ``EX_OSERR`` of sysexits.h."""

ABOVE = 1024, 1 << 15
"""Lowest and highest number that descriptors are moved to. The first is the usual limit of a process; above
the second, the kernel's table of descriptors would become large."""

ROOM = 64
"""Numbers above the base for descriptors that are moved there."""


def out_of_the_way(fd: int) -> int:
    """Move a descriptor to a high number, if there is one. It is not inherited. Returns its number."""
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
    """The descriptors that have to stay open as long as the worker lives.

    Connections come and go, so they are not among these.

    Args:
        fds: descriptors that the worker has opened. Connections and plain files among them are left out.
        loop: descriptors of the stage's event loop. Without one of them it would spin, or never wake again.
    """

    def __init__(self, fds: Set[int], loop: Set[int] = frozenset()) -> None:
        taken = [fd for fd in sorted(fds) if _is_open(fd) and _stays(fd)]
        self._expected = [*taken, *(fd for fd in sorted(loop) if _is_open(fd))]
        self._same = select.epoll()
        """Knows which file each number stood for: it refuses to modify one that stands for another now. That
        is one call of the kernel, where comparing the files takes three times as long."""
        for fd in self._expected:
            self._same.register(fd, 0)

    def there(self) -> bool:
        """Whether all are still open, as the same files. Takes about a microsecond for each.

        If standard input, output or error is closed, it becomes ``/dev/null``. Else a socket of libzmq would
        get its number, and all that is printed would go there.
        """
        _mend_standard()
        modify = self._same.modify
        try:
            for fd in self._expected:
                modify(fd, 0)
        except OSError:
            return False
        return True


def _mend_standard() -> None:
    for fd in range(3):
        try:
            os.get_inheritable(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
            if null != fd:  # another thread was faster
                os.close(null)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _stays(fd: int) -> bool:
    """Whether it is an eventfd or epoll of ours, or a socket that listens."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return os.readlink(f"/proc/self/fd/{fd}").startswith("anon_inode:")
    found = socket.socket(fileno=fd)
    try:
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        found.detach()


class Watched:
    """A note for work with suspects. It checks the descriptors between tasks, to blame the right task.

    Args:
        running_note: the note itself.
        descriptors: the descriptors that have to be there.
    """

    def __init__(self, running_note: RunningNote, descriptors: Descriptors) -> None:
        self.running_note = running_note
        self._descriptors = descriptors
        self.numbers, self.read = running_note.numbers, running_note.read

    def _look(self) -> None:
        if not self._descriptors.there() and self.running_note.read():
            os._exit(LOST_DESCRIPTORS)

    def begin(self, job: bytes, epoch: int, prefix: Path, root: bool) -> None:
        """Check, then do as the note does."""
        self._look()
        self.running_note.begin(job, epoch, prefix, root)

    def several(self, job: bytes, epoch: int, paths: list[Path]) -> None:
        """Check, then do as the note does."""
        self._look()
        self.running_note.several(job, epoch, paths)

    def nearest(self, job: bytes, epoch: int, paths: list[Path]) -> None:
        """Check, then do as the note does."""
        self._look()
        self.running_note.nearest(job, epoch, paths)

    def task(self, k: int) -> None:
        """Check, then do as the note does."""
        self._look()
        self.running_note.task(k)

    def end(self) -> None:
        """Check, then do as the note does."""
        self._look()
        self.running_note.end()
