"""How much CPU and memory this process uses, cheaply: for ``zturbo hosts``."""

from __future__ import annotations

import os
import time

__all__ = ["Usage", "memory_of_this_process", "traffic_of_this_host"]

EVERY = 3.0
"""Seconds between two looks at most."""

PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """The CPU time and the memory of this process. A look takes some 20 microseconds."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._spent = time.process_time()
        self._latest: tuple[int, int] | None = None

    def look(self, now: float) -> tuple[int, int]:
        """(percent of one core since the last look, bytes of memory); the same until the next look is due."""
        if self._latest is None or now >= self._at + EVERY:
            spent = time.process_time()
            cpu = round(100 * (spent - self._spent) / max(now - self._at, 0.001))
            self._at, self._spent = now, spent
            self._latest = max(0, cpu), memory_of_this_process()
        return self._latest


def memory_of_this_process() -> int:
    """Bytes of this process that are in memory; 0 where the kernel does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


def traffic_of_this_host() -> tuple[int, int]:
    """Bytes that the host has (received, sent) since its start on all of its cards, without loopback.

    (0, 0) where the kernel does not tell.
    """
    received = sent = 0
    try:
        with open("/proc/self/net/dev", "rb", buffering=0) as file:
            lines = file.read().splitlines()
        for line in lines:
            card, colon, counts = line.partition(b":")
            if colon and card.strip() != b"lo":
                numbers = counts.split(None, 9)
                received, sent = received + int(numbers[0]), sent + int(numbers[8])
    except (OSError, ValueError, IndexError):
        return 0, 0
    return received, sent
