"""A stage that never comes back."""

from __future__ import annotations

import re

from zturbo import Stage, Task

__all__ = ["Stuck"]

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
