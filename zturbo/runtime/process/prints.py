"""The output of a stage's code: what it prints and logs also goes to a file and to ``zturbo logs``.

Python's ``sys.stdout`` and ``sys.stderr`` are replaced by a :class:`Tee`, which writes to the old stream, and
hands on each line. What native code, or a program that the stage starts, writes to the descriptors goes to
the old streams alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Prints", "Tee"]

LONGEST = 4000
"""Characters after which a line is cut in two."""

EARLY = 200
"""Lines from before the worker has sockets that are handed on later, at most."""

FILE_BYTES = 10 << 20
"""Bytes after which a file is put aside and another one begins."""

OLD_FILES = 2
"""Files that are kept beside the present one."""

MOST_FILES = 200
"""Files in the folder, at most: the oldest go."""

FORMAT = "%(asctime)s %(levelname)s %(name)s%(task)s: %(message)s"

Running = Callable[[], tuple[bytes, tuple[int, ...]]]
"""Gives the job and the path of the task that runs in the main thread; an empty job if none does."""


class Tee:
    """A stream that hands on each line that is written to it.

    Lines that :mod:`logging` writes are not handed on: their records go another way.

    Args:
        stream: the old stream, which gets everything.
        take: gets each line, without its end.
    """

    def __init__(self, stream: Any, take: Callable[[str], None]) -> None:
        self._stream = stream
        self._take = take
        self._here = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write to the old stream, and hand on the lines that are complete."""
        written: int = self._stream.write(text)
        if sys._getframe(1).f_globals.get("__name__") != "logging":
            self._lines(text)
        return written

    def writelines(self, lines: Any) -> None:
        """Write each of these texts."""
        for line in lines:
            self.write(line)

    def _lines(self, text: str) -> None:
        *lines, rest = (getattr(self._here, "rest", "") + text).split("\n")
        while len(rest) > LONGEST:
            lines.append(rest[:LONGEST])
            rest = rest[LONGEST:]
        self._here.rest = rest
        for line in lines:
            shown = line.rstrip("\r").rpartition("\r")[2]  # of a progress bar, its last state
            if shown.strip():
                self._take(shown)


class _Tagged(logging.Formatter):
    """Names the task that runs."""

    def __init__(self, running: Callable[[], Running | None]) -> None:
        super().__init__(FORMAT)
        self._running = running

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        record.task = ""
        running = self._running()
        if running is not None and record.thread == threading.main_thread().ident:
            job, path = running()
            if job:
                record.task = f" [{' '.join((job.hex()[:12], '.'.join(map(str, path)))).rstrip()}]"
        return super().format(record)


class _Rotating(logging.FileHandler):
    """A file that is put aside when it is large. (That of :mod:`logging.handlers` would import sockets.)"""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, and begin a new file if this one is large."""
        super().emit(record)
        try:
            if self.stream is not None and self.stream.tell() > FILE_BYTES:
                self._turn()
        except (OSError, ValueError):  # the stage's code has closed it, or its folder is gone
            self.handleError(record)

    def _turn(self) -> None:
        self.close()
        for number in range(OLD_FILES, 0, -1):
            older = f"{self.baseFilename}.{number - 1}" if number > 1 else self.baseFilename
            with contextlib.suppress(FileNotFoundError):
                os.replace(older, f"{self.baseFilename}.{number}")


class Prints:
    """The way of a worker's output.

    Args:
        folder: where the worker's file is; None for no file.
        name: of the file, without ``.log``.
    """

    def __init__(self, folder: str | None, name: str) -> None:
        self._running: Running | None = None
        self._onward: logging.Handler | None = None
        self._early: deque[logging.LogRecord] = deque(maxlen=EARLY)
        self._file: logging.Handler | None = None
        self.problem = ""
        """Why there is no file."""
        if folder is not None:
            try:
                self._file = _file(Path(folder), name)
                self._file.setFormatter(_Tagged(lambda: self._running))
            except OSError as error:
                self.problem = f"{folder} cannot be written to, so the output is not kept: {error}"

    def begin(self) -> None:
        """Follow stdout and stderr from now on."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None:
                setattr(sys, name, Tee(stream, self._printed))

    def go_on(self, onward: logging.Handler, running: Running) -> None:
        """The code is loaded: log records go to the file, too, and lines to this handler.

        Args:
            onward: gets each line that is printed; it has a place for log records already.
            running: tells the task that runs.
        """
        if self._file is not None:
            logging.getLogger().addHandler(self._file)
        self._running = running
        self._onward = onward
        while self._early:
            onward.handle(self._early.popleft())

    def _printed(self, line: str) -> None:
        record = logging.LogRecord("print", logging.INFO, "", 0, line, None, None)
        if self._file is not None:
            self._file.handle(record)
        if self._onward is not None:
            self._onward.handle(record)
        else:
            self._early.append(record)


def _file(folder: Path, name: str) -> logging.Handler:
    """The handler that writes a file; the oldest files of the folder go."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(OSError):  # another worker may do the same at the same time
        old = sorted(folder.glob("*.log*"), key=lambda path: path.stat().st_mtime)
        for path in old[: max(0, len(old) - MOST_FILES)]:
            path.unlink(missing_ok=True)
    return _Rotating(folder / f"{name}-{os.getpid()}.log", delay=True, errors="backslashreplace")
