"""The outputs of a stage's code that nobody has taken yet, and when it is time to take them.

While the code itself runs, another thread may take what is here: a task may run for long, and the outputs of
the tasks before it are not to wait for it. Both threads first raise their own flag and then look at the
other's, so at least one of them sees the other (Peterson, "Myths about the mutual exclusion problem", 1981).
For a quick task that costs the code's thread half as much as a lock would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

from zturbo.api.task import Task
from zturbo.wire.messages import MANY_TASKS, End, Fail, Path, PathRun
from zturbo.wire.payload import take, take_meta, weight
from zturbo.wire.plain import UNCHANGING

__all__ = ["BATCH_BYTES", "FLUSH_AFTER", "Output"]

QUICK = 128
"""Outputs within :data:`FLUSH_AFTER` from which on they wait eight times as long. In a larger batch each of
them costs less, at each process on the way, and that is much of what so quick a task costs."""

BATCH_BYTES = 1 << 20
"""Bytes of a batch of outputs, about, at most."""

LIGHT = 256
"""Bytes of an output up to which those beside it are not weighed: what quick tasks give is small."""

FAILED_BYTES = 1 << 20
"""Bytes of failures that are taken together, about."""

FLUSH_AFTER = 0.001
"""Seconds that an output waits for company while the code goes on."""


class Output:
    """The outputs of a stage's code that nobody has taken yet.

    Args:
        flush: called when it is time to take them; it empties the output with :meth:`clear`.
        check: called whenever the clock is looked at; raises Stale if the job is void.
    """

    __slots__ = (
        "_check",
        "_checked",
        "_failed_bytes",
        "_lock",
        "_nbytes",
        "_step",
        "_weighed",
        "contents",
        "due_in",
        "ends",
        "fails",
        "finished",
        "flush",
        "inside",
        "metas",
        "passing",
        "since",
        "starts",
        "taking",
    )

    def __init__(self, flush: Callable[[], None], check: Callable[[], None]) -> None:
        self.flush = flush
        self._check = check
        self._checked = 0.0
        self._step = self.due_in = 1
        """``due_in``: outputs until the clock is looked at again."""
        self.finished = 0
        """Input tasks that are finished; the thread that takes the outputs sets it back."""
        self.inside = False
        """Whether the stage's code runs. Its thread alone changes that, by the steps of :meth:`call`."""
        self.taking = False
        """Whether another thread takes the outputs, or looks whether it may."""
        self._lock = threading.Lock()
        """Held by that thread."""
        self.clear()

    def clear(self) -> None:
        """The outputs have been taken."""
        self.starts: list[tuple[Path, int]] = []
        """Of each run of siblings: the path of the first, and its index among the contents."""
        self.contents: list[Any] = []
        self.metas: list[Any] | None = None
        self.ends: list[End] = []
        self.fails: list[Fail] = []
        self.passing = 0
        """Failures of stages above among them."""
        self._failed_bytes = 0
        self._weighed = self._nbytes = 0
        """How many contents were weighed, and their bytes, about."""
        self.since = 0.0

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the stage's code; meanwhile another thread may take the outputs."""
        try:  # a signal handler of the stage's code may raise at once
            self.inside = True
            return function(*args)
        finally:
            self.inside = False
            if self.taking:
                self.wait()

    def wait(self) -> None:
        """Wait until the other thread has taken what it takes."""
        with self._lock:
            pass

    def begin_taking(self) -> bool:
        """From another thread: whether it may take the outputs now. If so, :meth:`end_taking` follows."""
        self._lock.acquire()
        self.taking = True
        if not self.inside:
            self.end_taking()
            return False
        return True

    def end_taking(self) -> None:
        """The other thread has taken the outputs."""
        self.taking = False
        self._lock.release()

    def __len__(self) -> int:
        return len(self.contents) + len(self.ends) + len(self.fails)

    def add(self, path: Path, task: Task) -> None:
        """Add an output task."""
        contents = self.contents
        # All that may raise comes first: the user's code may have taken attributes off the task, or put odd
        # ones there. Values that may still change are taken now: the code may use them for its next output.
        content = task.content
        if type(content) not in UNCHANGING:
            content = take(content, task._owned)
        meta = take_meta(task._meta, task._logs)
        if meta is not None and self.metas is None:
            self.metas = [None] * len(contents)
        if self.metas is not None:
            self.metas.append(meta)
        self.begin_run(path, len(contents))
        contents.append(content)
        self.added()

    def begin_run(self, path: Path, index: int) -> None:
        """The content of this index has this path: it begins a run of siblings, or goes on with the last."""
        starts = self.starts
        if starts and path:
            first, start = starts[-1]
            if len(first) == len(path) and first[-1] + index - start == path[-1] and first[:-1] == path[:-1]:
                return
        starts.append((path, index))

    def runs(self) -> list[PathRun]:
        """The paths of the contents."""
        ends = [start for _, start in self.starts[1:]]
        ends.append(len(self.contents))
        return [(first, end - start) for (first, start), end in zip(self.starts, ends, strict=False)]

    def added(self) -> None:
        """One more is added: look at the clock now and then."""
        self.due_in -= 1
        if not self.due_in:
            self.look()

    def look(self) -> None:
        """Flush if it is time to. The clock is looked at about four times a millisecond."""
        now = perf_counter()
        each = max(1e-9, (now - self._checked) / self._step)
        self._checked = now
        self._step = self.due_in = max(1, min(64, int(FLUSH_AFTER / 4 / each)))
        contents = self.contents
        if contents and weight(contents[-1]) > LIGHT:
            self._nbytes += sum(map(weight, contents[self._weighed :]))
        self._weighed = len(contents)
        if self._nbytes > BATCH_BYTES:
            self.flush()
        elif not self.since:
            self.since = now
        else:
            outputs, waited = len(self), now - self.since
            if waited > (FLUSH_AFTER if outputs < QUICK else 8 * FLUSH_AFTER) or outputs >= MANY_TASKS:
                self.flush()
        self._check()

    def end(self, path: Path, count: int) -> None:
        """Close a path."""
        self.ends.append(End(path, count))
        self.added()

    def fail(self, path: Path, count: int, error: bytes) -> None:
        """Close a path by a failure."""
        self.fails.append(Fail(path, count, error))
        self._failed_bytes += len(error)
        if self._failed_bytes > FAILED_BYTES:  # they carry their tasks' inputs
            self.flush()
            self._check()
        else:
            self.added()

    def pass_by(self, path: Path, error: bytes) -> None:
        """Give on a failure of a stage above, at the path that it has from here on."""
        self.passing += 1
        self.fail(path, 0, error)
