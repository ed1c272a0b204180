"""Calls that other threads hand to a loop, and the descriptor that wakes the loop for them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator

__all__ = ["Posted"]

Call = Callable[[float], None]
"""Gets the time."""


class Posted:
    """Calls for one loop.

    The loop tells when it is going to sleep, and a call that is added after that wakes it. A call that is
    added while the loop works costs no system call.

    Attributes:
        fd: readable when the loop is to look; the loop polls it.
        calls: those that were added and not taken.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.calls: deque[Call] = deque()
        self._awake = False

    # -- from any thread ----------------------------------------------------------------------
    def add(self, call: Call) -> None:
        """Let the loop make this call. Raises OSError if the descriptor is closed."""
        self.calls.append(call)
        if not self._awake:
            self.wake()

    def wake(self) -> None:
        """Wake the loop, even without a call. Safe in a signal handler."""
        os.eventfd_write(self.fd, 1)

    # -- the loop's side ----------------------------------------------------------------------
    def may_sleep(self) -> bool:
        """The loop is about to wait. Returns whether it may: False if there are calls already."""
        self._awake = False
        return not self.calls

    def woke(self) -> None:
        """The loop is awake: until it sleeps again, calls are added without waking it."""
        self._awake = True

    def read(self) -> None:
        """Take the wake-up from the descriptor, if there is one."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass

    def take(self) -> Iterator[Call]:
        """Take the calls, also those that are added meanwhile."""
        while self.calls:
            yield self.calls.popleft()

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
