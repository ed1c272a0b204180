"""A stage that never comes back."""

from __future__ import annotations

import re
import threading

from zturbo import Stage, Task

__all__ = ["Restless", "Stuck"]

SLOW = re.compile(r"(a+)+b")
"""Takes 2 ** n steps for n letters."""


class Stuck(Stage):
    """Holds Python's lock in native code, for years."""

    def process(self, task: Task) -> Task:
        hold(task.content)
        return task


def hold(text: str) -> None:
    """One call of C code that lets no other thread of Python run."""
    SLOW.match(text)


class Restless(Stage):
    """Waits for a lock, while a thread of its own calls and leaves functions all the time."""

    def init(self, worker_id: int = 0) -> None:
        threading.Thread(target=busy, name="busy", daemon=True).start()

    def process(self, task: Task) -> Task:
        threading.Event().wait()
        return task


def busy() -> None:
    """Go up and down, for ever."""
    while True:
        for calls in range(60):
            deep(calls)


def deep(calls: int) -> None:
    """So many calls within each other."""
    if calls:
        deep(calls - 1)
