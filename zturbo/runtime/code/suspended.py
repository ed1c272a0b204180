"""Where suspended coroutines stand, as text like that of :mod:`faulthandler`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from zturbo.telemetry.stacks import coroutine_line
from zturbo.wire.messages import Path

__all__ = ["stacks_of"]

MOST = 1000
"""Coroutines at most."""

DEEP = 100
"""Frames of each at most, the innermost ones."""

_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")


def stacks_of(tasks: Iterable[tuple[bytes, Path, asyncio.Task[Any]]]) -> str:
    """The stack of each of these tasks of the event loop, the innermost call first.

    Args:
        tasks: (job, path, the task of the loop that runs it), of this thread's loop.
    """
    lines: list[str] = []
    for count, (job, path, task) in enumerate(tasks):
        if count == MOST:
            break
        lines.append(coroutine_line(job, path))
        frames = list(_frames(task.get_coro()))[-DEEP:]
        lines += [
            f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'
            for frame in reversed(frames)
        ]
    return "\n".join([*lines, ""])


def _frames(awaited: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of those that it awaits, the outermost first."""
    seen: set[int] = set()
    while awaited is not None and id(awaited) not in seen:
        seen.add(id(awaited))
        frame = next((frame for name in _FRAMES if (frame := getattr(awaited, name, None)) is not None), None)
        if frame is not None:
            yield frame
        awaited = next(
            (inner for name in _AWAITED if (inner := getattr(awaited, name, None)) is not None), None
        )
