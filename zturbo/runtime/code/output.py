"""What the user's code has given and nobody has taken yet, and when it is time to take it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

from zturbo.api.task import Task
from zturbo.wire.messages import End, Fail, Path, PathRun
from zturbo.wire.payload import UNCHANGING, pack_meta, take

__all__ = ["Output"]

FLUSH_COUNT = 512
"""Outputs in one batch at most."""

FAILED_BYTES = 1 << 20
"""Bytes of failures that are taken together, about."""

FLUSH_AFTER = 0.001
"""Seconds that an output waits for company while the code goes on."""


class Output:
    """What the code has given and nobody has taken yet.

    Args:
        flush: called when it is time to take it; it empties the output with :meth:`clear`.
        check: called whenever the clock is looked at; raises Stale if the job is void.
    """

    __slots__ = (
        "_check",
        "_checked",
        "_due_in",
        "_failed_bytes",
        "_step",
        "contents",
        "ends",
        "fails",
        "finished",
        "flush",
        "inside",
        "lock",
        "metas",
        "runs",
        "since",
        "wanted",
    )

    def __init__(self, flush: Callable[[], None], check: Callable[[], None]) -> None:
        self.flush = flush
        self._check = check
        self._checked = 0.0
        self._step = self._due_in = 1
        self.finished = 0
        """Input tasks that are finished; the thread that takes the outputs sets it back."""
        self.inside = False
        """Whether the user's code runs: nothing changes here until it gives something."""
        self.wanted = False
        """Whether another thread takes what is here."""
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """It has been taken."""
        self.runs: list[PathRun] = []
        self.contents: list[Any] = []
        self.metas: list[Any] | None = None
        self.ends: list[End] = []
        self.fails: list[Fail] = []
        self._failed_bytes = 0
        self.since = 0.0

    def settle(self) -> None:
        """Another thread takes what is here: wait until it has."""
        with self.lock:
            self.inside = False

    def __len__(self) -> int:
        return len(self.contents) + len(self.ends) + len(self.fails)

    def add(self, path: Path, task: Task) -> None:
        """One output task."""
        contents = self.contents
        # All that may raise comes first: what the user's code has taken off the task, or put there. What may
        # still change is packed now: the code may use it again for its next output.
        content = task.content
        if type(content) not in UNCHANGING:
            content = take(content, task._owned)
        meta = pack_meta(task._meta, task._logs)
        if meta is not None:
            meta = take(meta, True)
        if meta is not None and self.metas is None:
            self.metas = [None] * len(contents)
        if self.metas is not None:
            self.metas.append(meta)
        contents.append(content)
        runs = self.runs
        if runs and path:
            first, n = runs[-1]
            if len(first) == len(path) and first[-1] + n == path[-1] and first[:-1] == path[:-1]:
                runs[-1] = (first, n + 1)
            else:
                runs.append((path, 1))
        else:
            runs.append((path, 1))
        self.added()

    def added(self) -> None:
        """One more is in: flush if it is time to. The clock is looked at about four times a millisecond."""
        self._due_in -= 1
        if self._due_in:
            return
        now = perf_counter()
        each = max(1e-9, (now - self._checked) / self._step)
        self._checked = now
        self._step = self._due_in = max(1, min(64, int(FLUSH_AFTER / 4 / each)))
        if not self.since:
            self.since = now
        elif now - self.since > FLUSH_AFTER or len(self) >= FLUSH_COUNT:
            self.flush()
        self._check()

    def end(self, path: Path, count: int) -> None:
        """A path is closed."""
        self.ends.append(End(path, count))
        self.added()

    def fail(self, path: Path, count: int, error: bytes) -> None:
        """A path is closed by a failure."""
        self.fails.append(Fail(path, count, error))
        self._failed_bytes += len(error)
        if self._failed_bytes > FAILED_BYTES:  # they carry their tasks' inputs
            self.flush()
            self._check()
        else:
            self.added()
