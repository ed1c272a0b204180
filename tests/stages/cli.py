"""Stages for tests of the command line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from zturbo import Resources, Stage, System, Task


class Talks(Stage):
    """Logs its content, as a warning and as info."""

    def process(self, task: Task) -> Task:
        logging.getLogger("talks").warning("a warning of %s", task.content)
        logging.getLogger("talks").debug("not to be told")
        return task


class Steers(Stage):
    """Logs its content, and raises it."""

    def process(self, task: Task) -> Task:
        logging.getLogger("steers").warning("a warning of %s", task.content)
        raise ValueError(task.content)


class Breaks(Stage):
    """Opens a debugger."""

    def process(self, task: Task) -> Task:
        secret = f"secret {task.content}"
        breakpoint()
        return Task(secret)


class RaisesWhenMade(Stage):
    """Cannot be made with this."""

    def __init__(self, size: int = 1, *, mode: str = "a") -> None:
        super().__init__()
        if size < 0:
            raise ValueError("no such size")


class Needs(Stage):
    """Has an argument without a default."""

    def __init__(self, size: int) -> None:
        print("made")
        super().__init__()
        self.size = size

    def process(self, task: Task) -> Task:
        return task


class Keys(Stage):
    """Gives what JSON has no keys for."""

    def process(self, task: Task) -> Task:
        return Task({(1, 2): b"\x01", "path": str(Path("x"))})


class NeedsArguments(System):
    """Cannot be made by its name alone."""

    def __init__(self, what: Any) -> None:
        super().__init__()

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Talks()]
