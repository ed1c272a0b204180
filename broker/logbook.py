"""The broker's log for ``zturbo logs``: its latest events and its members' log lines, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from zturbo.wire.control import answers, to_broker

__all__ = ["Logbook"]

KEPT = 5000
"""Entries at most; the oldest are dropped first."""

KEPT_CHARACTERS = 4 << 20
"""Characters that all entries may have together."""

PAGE = 500
"""Entries in one answer at most."""

TEXT = 4000
"""Characters to which an entry is cut."""

SOURCE = 200
"""Characters to which the name of an entry's source is cut."""


class Logbook:
    """The last entries, numbered."""

    def __init__(self) -> None:
        self._entries: deque[answers.LogEntry] = deque()
        self._characters = 0
        self._last = 0

    def add(self, at: float, level: str, source: str, job: bytes, text: str) -> None:
        """Append an entry."""
        self._last += 1
        entry = answers.LogEntry(
            number=self._last, at=at, level=level, source=source[:SOURCE], job=job, text=text[:TEXT]
        )
        self._entries.append(entry)
        self._characters += len(entry.text) + len(entry.source)
        while len(self._entries) > KEPT or self._characters > KEPT_CHARACTERS:
            oldest = self._entries.popleft()
            self._characters -= len(oldest.text) + len(oldest.source)

    def add_records(self, at: float, message: to_broker.Log) -> None:
        """Append the lines that a member has logged."""
        source = message.source
        for level, job, text in message.records:
            self.add(at, level, source, job, text)
        if message.dropped:
            text = f"{message.dropped} more lines were too many to be sent; the stderr of {source} has them"
            self.add(at, "WARNING", source, b"", text)

    def page(
        self, after: int, job: bytes | None, source: str, sees: Callable[[bytes], bool] | None = None
    ) -> answers.LogPage:
        """Entries after a number: of one job, of one source, or of all.

        Args:
            after: the number.
            job: the only job; None for all.
            source: the only source; empty for all.
            sees: whether the one who asks may see the lines of a job; None if it may see all lines.
        """
        out: list[answers.LogEntry] = []
        last = after if after <= self._last else 0  # that number is from before this broker's start
        for entry in self._entries:
            if entry.number <= last:
                continue
            if len(out) == PAGE:
                return answers.LogPage(entries=tuple(out), last=last, more=True)
            last = entry.number
            wanted = (job is None or entry.job == job) and (not source or entry.source == source)
            if wanted and (sees is None or sees(entry.job or b"")):
                out.append(entry)
        return answers.LogPage(entries=tuple(out), last=last, more=False)
