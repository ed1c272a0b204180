"""What the stages of each peer do to a content: next to nothing, so that the rest is the peer's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import frames

__all__ = [
    *("MANY", "STEPS"),
    *(
        "add",
        "count",
        "feature",
        "film",
        "length",
        "load",
        "nap",
        "read",
        "same",
        "slow_length",
        "stamp",
        "write",
    ),
]


def add(content: int) -> int:
    """Add 1."""
    return content + 1


def same(content: Any) -> Any:
    """Give the content as it is."""
    return content


def count(content: int) -> Iterator[int]:
    """Make so many numbers, from 1 on, of one task."""
    yield from range(1, content + 1)


def film(content: int) -> Iterator[frames.Frame]:
    """Make so many frames of one task."""
    for i in range(content):
        yield frames.make(i)


def read(content: frames.Frame) -> frames.Frame:
    """Look into a frame, and give it on."""
    frames.number(content)
    return content


def stamp(content: frames.Frame) -> frames.Frame:
    """Write into a copy of a frame."""
    return frames.stamp(content)


def nap(content: float) -> float:
    """Sleep so many seconds."""
    time.sleep(content)
    return content


def length(content: bytes) -> int:
    """Sleep 5 ms, and give the number of bytes."""
    time.sleep(0.005)
    return len(content)


def slow_length(content: bytes) -> int:
    """Sleep half a millisecond, and give the number of bytes."""
    time.sleep(0.0005)
    return len(content)


def load(content: int) -> Iterator[frames.Frame]:
    """Make so many batches of 32 small frames, each a crop of a large one."""
    for i in range(content):
        frame = frames.make(i)
        yield np.stack([frame[k : k + 224, 4 * k : 4 * k + 224] for k in range(32)])


def feature(content: frames.Frame) -> list[int]:
    """A number for each frame of a batch."""
    wide = content.astype(np.float32)
    gradient = np.abs(wide[:, 1:] - wide[:, :-1]).sum(axis=(1, 2, 3))
    return [int(value) for value in gradient]


def write(content: list[int]) -> int:
    """Append a line to a file that is thrown away, and give a number that tells the line."""
    with open(os.devnull, "a") as file:
        file.write(f"{content}\n")
    return sum(content)


STEPS: dict[str, Callable[[Any], Any]] = {
    step.__name__: step
    for step in (
        *(add, same, count, film, read, stamp, nap, length, slow_length),
        *(load, feature, write),
    )
}

MANY = frozenset({"count", "film", "load"})
"""Steps that give many outputs for one input."""
