"""The log records of a member, on their way to the broker and ``zturbo logs``."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from zturbo.wire.control.to_broker import LEVELS, Level

__all__ = ["Forwarder"]

MOST = 200
"""Records that wait to be sent at most; others are counted and dropped."""

RATE = 50.0
"""Records a second that are sent in the long run."""

TEXT = 4000
"""Characters of one record."""


class Forwarder(logging.Handler):
    """A handler that keeps records until the I/O thread takes them.

    Args:
        level: the lowest level of a record that is taken.
        current: the job whose task runs in the main thread; None if there is none.
    """

    def __init__(self, level: int, current: Callable[[], bytes | None] = lambda: None) -> None:
        super().__init__(level)
        self.current = current
        self._records: deque[tuple[Level, bytes, str]] = deque()
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
        job = (self.current() if main else None) or b""
        level = LEVELS.get(record.levelno, "INFO")
        self._records.append((level, job, text))

    def take(self) -> tuple[list[tuple[Level, bytes, str]], int]:
        """(records, number of records that were dropped), both since the last call."""
        records = [self._records.popleft() for _ in range(len(self._records))]
        dropped, self._dropped = self._dropped, 0
        return records, dropped
