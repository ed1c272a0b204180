"""A stage for the fragments of the docs: what comes goes, but once, where a file asks for it, it fails."""

from __future__ import annotations

from pathlib import Path

from zturbo import Stage, Task


class Moody(Stage):
    """One to one; fails and removes the file, if it is there."""

    def __init__(self, fail: str) -> None:
        super().__init__()
        self.fail = Path(fail)

    def process(self, task: Task) -> Task:
        if self.fail.exists():
            self.fail.unlink()
            raise ValueError("not today")
        return task
