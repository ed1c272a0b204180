"""Calls that other threads want a loop to make, and the descriptor that wakes it for them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator

__all__ = ["Posted"]

Call = Callable[[float], None]
"""Gets the time."""


class Posted:
    """Calls for one loop.

    The loop says when it is going to sleep, and a call that is added then wakes it. A call that is added
    while the loop works costs no system call.

    Attributes:
        fd: readable when the loop is to look; to be polled by it.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._calls: deque[Call] = deque()
        self._awake = False

    # -- from any thread ----------------------------------------------------------------------
    def add(self, call: Call) -> None:
        """Let the loop make this call. Raises OSError where the descriptor is gone."""
        self._calls.append(call)
        if not self._awake:
            self.wake()

    def wake(self) -> None:
        """Let the loop look, also without a call. Safe in a signal handler."""
        os.eventfd_write(self.fd, 1)

    # -- the loop's side ----------------------------------------------------------------------
    def may_sleep(self) -> bool:
        """The loop is about to wait. Returns whether it may: False if there are calls already."""
        self._awake = False
        return not self._calls

    def woke(self) -> None:
        """The loop waits no longer: until it does again, calls come without a word."""
        self._awake = True

    def read(self) -> None:
        """Take the wake-up off the descriptor, if there is one."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass

    def take(self) -> Iterator[Call]:
        """The calls, also those that are added meanwhile."""
        while self._calls:
            yield self._calls.popleft()

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
