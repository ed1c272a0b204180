"""Bounds the file into which a command writes its output, however long the command runs.

The file is open for appending, in the command and in all that it has started. So one thread of the command
can copy it to a second file and empty it, and all of them go on writing. A line that comes between the two is
lost.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path

__all__ = ["LARGEST", "bound_output", "older", "turn"]

LARGEST = 16 << 20
"""Bytes of the file, and of the copy."""

EVERY = 5.0
"""Seconds between two looks."""


def older(log: Path) -> Path:
    """Where the lines are that were in a file before."""
    return log.with_name(f"{log.name}.1")


def turn(fd: int, log: Path, largest: int = LARGEST) -> bool:
    """Copy a file and empty it, if it is too large. Returns whether it was.

    Args:
        fd: of the file, open for appending.
        log: its path.
        largest: bytes that it may have. Of more, the last ones are copied.
    """
    about = os.fstat(fd)
    if about.st_size <= largest or not stat.S_ISREG(about.st_mode):
        return False
    part = log.with_name(f".{log.name}.new")
    new = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(log, "rb") as file, open(new, "wb") as copy:
        file.seek(max(0, about.st_size - largest))
        shutil.copyfileobj(file, copy)
    os.ftruncate(fd, 0)
    os.replace(part, older(log))
    return True


def bound_output(every: float = EVERY) -> None:
    """Bound the file that this process's stderr is, in a thread, if it is one."""
    path = Path(os.readlink("/proc/self/fd/2"))

    def look() -> None:
        pause = threading.Event()
        while not pause.wait(every):
            try:
                turn(2, path)
            except OSError:  # there is no room for the copy
                if os.fstat(2).st_size > 2 * LARGEST:
                    os.ftruncate(2, 0)

    if path.is_file():
        threading.Thread(target=look, name="log size", daemon=True).start()
