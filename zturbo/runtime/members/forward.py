"""The log records of a member, on their way to the broker and ``zturbo logs``."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from zturbo.wire.control.to_broker import LEVELS, Level
from zturbo.wire.messages import Path

__all__ = ["Forwarder"]

MOST = 200
"""Records that wait to be sent at most; others are counted and dropped."""

RATE = 50.0
"""Records a second that are sent in the long run."""

TEXT = 4000
"""Characters of one record."""


Running = tuple[bytes, Path]
"""(job, path of its task)"""

Record = tuple[Level, bytes, Path, str]
"""(level, job, path of its task, text)"""


class Forwarder(logging.Handler):
    """A handler that keeps records until the I/O thread takes them.

    Args:
        level: the lowest level of a record that is taken.
        current: job and path of the task that runs in the main thread; an empty job if there is none.
    """

    def __init__(self, level: int, current: Callable[[], Running] = lambda: (b"", ())) -> None:
        super().__init__(level)
        self.current = current
        self._records: deque[Record] = deque()
        self._dropped = 0
        self._budget = float(MOST)
        self._filled = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, unless too many wait or come."""
        now = time.monotonic()
        self._budget = min(float(MOST), self._budget + RATE * (now - self._filled))
        self._filled = now
        if len(self._records) >= MOST or self._budget < 1:
            self._dropped += 1
            return
        try:
            text = self.format(record)[:TEXT].encode(errors="replace").decode()
        except Exception:  # its arguments do not fit its text: logging tells so on stderr
            self.handleError(record)
            return
        self._budget -= 1
        main = record.thread == threading.main_thread().ident
        job, path = self.current() if main else (b"", ())
        level = LEVELS.get(record.levelno, "INFO")
        self._records.append((level, job, path, text))

    def take(self) -> tuple[list[Record], int]:
        """(records, number of records that were dropped), both since the last call."""
        records = [self._records.popleft() for _ in range(len(self._records))]
        dropped, self._dropped = self._dropped, 0
        return records, dropped
