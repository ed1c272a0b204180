"""Stages with large contents, which processes of one host share in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import zturbo
from zturbo import ReorderStage, Stage, Task

NUMBERS = 1 << 17
"""Numbers in one frame: a megabyte."""


def frame(number: int) -> np.ndarray[Any, Any]:
    """A frame that can be told from all others, and from a mixture of two."""
    return np.arange(number, number + NUMBERS, dtype=np.int64)


def number_of(array: np.ndarray[Any, Any]) -> int:
    """The number of a whole frame; raises if it is none."""
    number = int(array[0])
    if not np.array_equal(array, frame(number)):
        raise ValueError(f"frame {number} is damaged")
    return number


class Frames(Stage):
    """Gives as many frames as its content says, all made in one piece of memory."""

    def process(self, task: Task) -> Iterator[Task]:
        memory = np.empty(NUMBERS, np.int64)
        for number in range(task.content):
            memory[:] = frame(number)
            yield Task(memory)


class Made(Stage):
    """Gives as many frames as its content says, each made where it is sent from. It overwrites each second
    frame once that is given, and does not promise otherwise."""

    def process(self, task: Task) -> Iterator[Task]:
        for number in range(task.content):
            array = zturbo.empty(NUMBERS, np.int64)
            if not is_shared(array):
                raise ValueError(f"frame {number} is not in shared memory")
            array[:] = frame(number)
            yield Task(array, owned=number % 2 == 0)
            if number % 2:
                array[:] = -1


class Keeps(Stage):
    """Passes frames on, and looks again at each frame that it has passed on not long ago."""

    def __init__(self, kept: int = 5, wait: str = "") -> None:
        self.kept = kept
        self.wait = wait
        self.last: list[tuple[int, Any]] = []

    def process(self, task: Task) -> Task:
        array = task.content
        assert not array.flags.writeable
        for number, earlier in self.last:
            if number_of(earlier) != number:
                raise ValueError(f"frame {number} has changed")
        number = number_of(array)
        self.last = [*self.last, (number, array)][-self.kept :] if self.kept else []
        while self.wait and number == 20 and not Path(self.wait).exists():
            time.sleep(0.01)  # the test does something, and then makes the file
        return Task(array)


class Halves(Stage):
    """Gives a frame's first half as bytes, and its second half as a part of the array."""

    def process(self, task: Task) -> Task:
        array = task.content
        return Task([array[: NUMBERS // 2].tobytes(), array[NUMBERS // 2 :]])


class Orders(ReorderStage):
    """Passes frames on in their order."""

    def reset(self) -> None:
        self.next = 0

    def process(self, task: Task) -> Task:
        if number_of(task.content) != self.next:
            raise ValueError(f"frame {self.next} is missing")
        self.next += 1
        return Task(task.content)


class Passes(Stage):
    """Gives what it gets."""

    def process(self, task: Task) -> Task:
        return Task(task.content)


def is_shared(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array lies in shared memory."""
    pool = f"{os.environ['ZTURBO_SHM']}/zturbo-{os.geteuid()}"
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if low <= address < high:
            return pool in line
    raise ValueError("there is no such address")


class Lies(Stage):
    """Tells for each frame whether it lies in shared memory."""

    def process(self, task: Task) -> Task:
        return Task(is_shared(task.content))
