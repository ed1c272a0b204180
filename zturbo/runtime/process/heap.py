"""Freed memory that goes back to the kernel once a process handles no large buffers any more.

While it does, :mod:`~zturbo.runtime.process.tunables` lets it keep what it frees for the next buffers.
"""

from __future__ import annotations

from zturbo.runtime.net.endless import trim_heap

__all__ = ["Heap"]


class Heap:
    """The C library's heaps of this process."""

    def __init__(self) -> None:
        self._used = self._kept = False

    def used(self) -> None:
        """A large buffer has come or was made. What is freed may be used again soon."""
        self._used = True

    def look(self) -> bool:
        """Give freed memory back, unless a large buffer came since the last look. Called now and then.

        Returns:
            Whether it was given back now.
        """
        give_back = self._kept and not self._used
        self._kept, self._used = self._used, False
        if give_back:
            trim_heap()
        return give_back
