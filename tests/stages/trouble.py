"""A stage that other jobs of a chaos run share with its loads, and that does what it is asked for."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from tests.chaos.loads import ASIDE
from tests.stages.basic import Add, die, rest
from zturbo import Task

__all__ = ["DEADLY", "GOOD", "Trouble"]

GOOD = ASIDE
"""What a task that asked for trouble gives once there is no more, and a generator before it kills."""

DEADLY = ("kill", "segfault", "exit", "abort", "generator")
"""Ways to die that are possible everywhere."""


class Trouble(Add):
    """x + 1; a list is [what is asked for, a file]: done once, and the file made; without a file, each time.

    ``memory`` takes more than its control group has, ``cgroup``; ``hold`` keeps the interpreter for
    ``hold`` seconds; ``hang`` goes on for ever, and writes its process id to the file each time.
    """

    def __init__(self, cgroup: str = "", hold: float = 0.0) -> None:
        super().__init__()
        self.cgroup = cgroup
        self.hold = hold

    def process(self, task: Task) -> Any:
        if isinstance(task.content, int):
            return super().process(task)
        asked, file = task.content
        if file and asked != "hang":
            try:
                Path(file).touch(exist_ok=False)
            except FileExistsError:
                return Task(GOOD)
        match asked:
            case "hold":
                ctypes.PyDLL(None).usleep(int(self.hold * 1e6))
                return Task(GOOD)
            case "hang":
                with open(file, "a") as pids:
                    pids.write(f"{os.getpid()}\n")
                while True:
                    rest(1)
        return (Task(GOOD) for _ in die(asked, self.cgroup))
