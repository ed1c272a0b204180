"""Credit: how many tasks does a worker get ahead?

A receiver tells each of its senders a limit: the tasks that have left the queue, plus a share of a window
(``receivers.py``, ``grant``). Limits are counts from the link's beginning, so a lost or doubled statement
does no harm, and they never fall. Each sender has at least one task.

* The window is about :data:`TARGET` seconds of work at the measured rate (:class:`Meter`). So fast tasks
  travel in large batches, and slow ones are not queued behind each other. It is one task until
  the first measurement, and :data:`MAX_WINDOW` tasks at most.
* Above :data:`SLOW` seconds a task, a task leaves the queue when it is finished, not when it is begun. So no
  sender has a second task here; with n senders, up to n - 1 tasks wait behind the one that runs.
* A stage with ``batch_size`` or ``concurrency`` has at least so many from each sender. An ordered stage and
  the sink have :data:`MAX_WINDOW` from each: a sequencer takes everything in.
* :data:`WINDOW_BYTES` bounds the bytes in the same way. Senders that have sent no contents yet share an
  eighth of them (``receivers.py``): a sink has a link from each worker of each stage, and most carry none.

The user's code of a plain worker has one piece of work that runs and, where tasks are fast, a second one at
hand (``core/worker/feed.py``). That module also gives back tasks that are queued behind a long one.
"""

from __future__ import annotations

__all__ = ["MAX_WINDOW", "SLOW", "TARGET", "WINDOW_BYTES", "Meter", "Window"]

TARGET = 0.05
"""Seconds of work that all senders together may have queued."""

SLOW = 0.1
"""Seconds a task takes; above that nothing is prefetched."""

MAX_WINDOW = 16384
"""Tasks: some batches of the quickest tasks, of 2,048 each, so that no sender waits for a statement."""

WINDOW_BYTES = 64 << 20
"""Bytes that all senders together may have queued here, beside one message each."""


class Meter:
    """Seconds a task, as an exponentially weighted mean over pieces of work."""

    __slots__ = ("mean",)

    def __init__(self) -> None:
        self.mean: float | None = None
        """Seconds a task; None before the first measurement."""

    def add(self, tasks: int, seconds: float) -> None:
        """Take a measurement: so many tasks took so long."""
        if tasks <= 0:
            return
        each = max(0.0, seconds) / tasks
        if self.mean is None:
            self.mean = each
        else:
            weight = min(0.5, 0.1 * tasks)
            self.mean += weight * (each - self.mean)

    @property
    def slow(self) -> bool:
        """Whether tasks are so slow that nothing is prefetched."""
        return self.mean is not None and self.mean > SLOW

    def window(self) -> int:
        """Tasks that all senders together may have queued."""
        if self.mean is None:
            return 1
        if self.mean > SLOW:
            return 1
        if self.mean * MAX_WINDOW <= TARGET:
            return MAX_WINDOW
        return max(1, int(TARGET / self.mean))


class Window:
    """The limits that one sender is told, and how much has left its queue here."""

    __slots__ = (
        "changed",
        "left_bytes",
        "left_tasks",
        "limit_bytes",
        "limit_tasks",
        "told_bytes",
        "told_left",
        "told_tasks",
    )

    def __init__(self) -> None:
        self.changed = True
        """Whether something has left the queue since limits were last raised."""
        self.left_tasks = 0
        """Tasks that have left the queue."""
        self.left_bytes = 0
        self.limit_tasks = 0
        self.limit_bytes = 0
        self.told_tasks = 0
        """The limits in the last statement."""
        self.told_bytes = 0
        self.told_left = 0
        """Bytes that had left the queue then."""

    def leave(self, tasks: int, nbytes: int) -> None:
        """Count tasks and bytes that have left the queue."""
        self.left_tasks += tasks
        self.left_bytes += nbytes
        self.changed = True

    def allow(self, tasks: int, nbytes: int) -> None:
        """Raise the limits to this: as much is here already, from a sender before this one."""
        self.limit_tasks = max(self.limit_tasks, tasks)
        self.limit_bytes = max(self.limit_bytes, nbytes)

    def grant(self, tasks: int, nbytes: int, *, each: bool = False) -> bool:
        """Raise the limits to a window of this size.

        Args:
            tasks: that the sender may send ahead.
            nbytes: as many bytes.
            each: each task that leaves makes room for one that is begun at once.

        Returns:
            Whether the sender is to be told at once: its limit has grown by a quarter of the window, or as
            many bytes have left. It keeps those until their acks come, with the same statement.
        """
        self.changed = False
        limit = self.left_tasks + max(1, tasks)
        if limit > self.limit_tasks:
            self.limit_tasks = limit
        limit = self.left_bytes + max(1, nbytes)
        if limit > self.limit_bytes:
            self.limit_bytes = limit
        more = self.limit_tasks - self.told_tasks
        if 4 * more >= max(1, tasks) or (each and more):
            return True
        return 4 * max(self.limit_bytes - self.told_bytes, self.left_bytes - self.told_left) >= max(1, nbytes)

    def tell(self) -> tuple[int, int]:
        """The limits, as they go into a statement."""
        self.told_tasks, self.told_bytes, self.told_left = self.limit_tasks, self.limit_bytes, self.left_bytes
        return self.limit_tasks, self.limit_bytes
