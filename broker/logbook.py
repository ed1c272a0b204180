"""What happened lately, for ``zturbo logs``: a bounded memory of events and of what members logged."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from zturbo.errors import DecodeError

__all__ = ["Entry", "Logbook"]

KEPT = 5000
"""Entries; the oldest go first."""

KEPT_CHARACTERS = 4 << 20
"""Characters of all of them."""

PAGE = 500
"""Entries in one answer."""

RECORDS = 200
"""Records in one message of a member."""

LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})

TEXT = 4000
"""Characters of one entry."""

SOURCE = 200
"""Characters of a source."""


class Entry(NamedTuple):
    """One line."""

    number: int
    at: float
    """Wall time at the broker, for people."""
    level: str
    source: str
    """``broker``, ``sink-0``, ``video.detect``."""
    job: bytes
    """The job that it is about; empty for none."""
    text: str


class Logbook:
    """The last entries, numbered."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._characters = 0
        self._last = 0

    def add(self, at: float, level: str, source: str, job: bytes, text: str) -> None:
        """One more."""
        self._last += 1
        entry = Entry(self._last, at, level, source[:SOURCE], job, text[:TEXT])
        self._entries.append(entry)
        self._characters += len(entry.text) + len(entry.source)
        while len(self._entries) > KEPT or self._characters > KEPT_CHARACTERS:
            oldest = self._entries.popleft()
            self._characters -= len(oldest.text) + len(oldest.source)

    def add_records(self, at: float, source: str, records: tuple[Any, ...], dropped: int) -> None:
        """What a member logged: (level, job, text) each, and how many more were too many to be sent.

        Raises:
            DecodeError: they are something else.
        """
        if len(records) > RECORDS or dropped < 0:
            raise DecodeError("log: field 'records' is malformed")
        for record in records:
            fits = type(record) is tuple and [type(part) for part in record] == [str, bytes, str]
            if not fits or record[0] not in LEVELS or len(record[1]) not in (0, 16):
                raise DecodeError("log: field 'records' is malformed")
        for level, job, text in records:
            self.add(at, level, source, job, text)
        if dropped:
            text = f"{dropped} more lines were too many to be sent; its own stderr has them"
            self.add(at, "WARNING", source, b"", text)

    def page(self, after: int, job: bytes | None, source: str) -> dict[str, Any]:
        """Entries after a number: of one job, of one source, or of all.

        Returns:
            ``entries``, ``last`` (the number to go on after) and whether there is ``more``.
        """
        out: list[dict[str, Any]] = []
        last = after if after <= self._last else 0  # that number was another broker's
        for entry in self._entries:
            if entry.number <= last:
                continue
            if len(out) == PAGE:
                return {"entries": out, "last": last, "more": True}
            last = entry.number
            if (job is None or entry.job == job) and (not source or entry.source == source):
                out.append(entry._asdict())
        return {"entries": out, "last": last, "more": False}
