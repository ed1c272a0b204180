"""The broker's log for ``zturbo logs``: its latest events and its members' log lines, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from zturbo.wire.control import answers, to_broker
from zturbo.wire.messages import Path

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
    """The last entries, numbered.

    Args:
        first: number before the first entry: that of a later broker is to be greater than those of earlier
            ones.
    """

    def __init__(self, first: int = 0) -> None:
        self._entries: deque[answers.LogEntry] = deque()
        self._characters = 0
        self._last = first

    @property
    def oldest(self) -> int:
        """Number of the oldest entry that is here; of the next one, if there is none."""
        return self._entries[0].number if self._entries else self._last + 1

    def add(
        self,
        at: float,
        level: str,
        source: str,
        job: bytes,
        text: str,
        path: Path = (),
        host: str = "",
        pid: int = 0,
    ) -> answers.LogEntry:
        """Append an entry; returns it."""
        self._last += 1
        entry = answers.LogEntry(
            number=self._last,
            at=at,
            level=level,
            source=source[:SOURCE],
            job=job,
            text=text[:TEXT],
            path=path,
            host=host,
            pid=pid,
        )
        self._entries.append(entry)
        self._characters += len(entry.text) + len(entry.source)
        while len(self._entries) > KEPT or self._characters > KEPT_CHARACTERS:
            oldest = self._entries.popleft()
            self._characters -= len(oldest.text) + len(oldest.source)
        return entry

    def add_records(
        self, at: float, message: to_broker.Log, host: str = "", pid: int = 0
    ) -> list[answers.LogEntry]:
        """Append the lines that a member has logged; returns the entries."""
        source = message.source
        added = [
            self.add(at, level, source, job, text, path, host, pid)
            for level, job, path, text in message.records
        ]
        if message.dropped:
            text = f"{message.dropped} more lines were too many to be sent; its file and its stderr have them"
            jobs = {entry.job for entry in added}
            job = jobs.pop() if len(jobs) == 1 else b""
            added.append(self.add(at, "WARNING", source, job, text, (), host, pid))
        return added

    def page(
        self,
        after: int,
        job: bytes | None,
        source: str,
        sees: Callable[[bytes], bool] | None = None,
        kept: Sequence[answers.LogEntry] = (),
    ) -> answers.LogPage:
        """Entries after a number: of one job, of one source, or of all.

        Args:
            after: the number.
            job: the only job; None for all.
            source: the only source; empty for all.
            kept: entries of the job that are kept elsewhere, in order.
            sees: whether the one who asks may see the lines of a job; None if it may see all lines.
        """
        out: list[answers.LogEntry] = []
        last = after if after <= self._last else 0  # that number is from before this broker's start
        entries: Iterable[answers.LogEntry] = self._entries
        if kept:
            oldest = self.oldest
            entries = chain((entry for entry in kept if entry.number < oldest), self._entries)
        for entry in entries:
            if entry.number <= last:
                continue
            if len(out) == PAGE:
                return answers.LogPage(entries=tuple(out), last=last, more=True)
            last = entry.number
            wanted = (job is None or entry.job == job) and (not source or entry.source == source)
            if wanted and (sees is None or sees(entry.job or b"")):
                out.append(entry)
        return answers.LogPage(entries=tuple(out), last=last, more=False)
