"""Python stacks as text, as :mod:`faulthandler` writes them, read into frames.

The text comes from a process whose code may write anything into it. So nothing in it is trusted: lines that
are no frame are passed over, and the number of frames is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = [
    "END",
    "Frame",
    "Stack",
    "collapsed",
    "coroutine_line",
    "coroutines",
    "is_whole",
    "main_stack",
    "of_code",
    "parse",
    "speedscope",
]

END = "End of stacks"
"""The last line of a process that has written its other threads and its coroutines, too."""

Path = tuple[int, ...]

MOST_THREADS = 200
MOST_COROUTINES = 1000
MOST_FRAMES = 500
"""Frames of one stack at most; faulthandler writes 100."""
LENGTH = 500
"""Characters of a file's or a function's name."""

_THREAD = re.compile(r"(?:(Current thread|Thread) (0x[0-9a-fA-F]+)|Stack \(most recent call first\):)")
_OUTERMOST = re.compile(r'  File ".*/boot\.py", line \d+ in <module>|  \.\.\.')
"""The last line of the main thread, or of a stack that is too long."""
_COROUTINE = re.compile(r"Coroutine ([0-9a-f]{32}) ([0-9.]{0,2000})")
_FRAME = re.compile(r'  File "(.*)", line (\d{1,9}|\?\?\?) in (.*)')
_OURS = re.compile(
    r"(/zturbo/(runtime|core|wire|api|telemetry)/[\w/]+\.py|/runpy\.py|<frozen runpy>"
    r"|/asyncio/\w+\.py|/selectors\.py)\Z"
)
_CALLERS = re.compile(r"(/zturbo/(runtime/code|api)/[\w/]+\.py|/asyncio/\w+\.py)\Z")
"""Those of ours that call the stage's code. The others call libraries: to wait for messages, for instance."""


class Frame(NamedTuple):
    """One call."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class Stack(NamedTuple):
    """The calls of one thread, the innermost first."""

    thread: str
    frames: tuple[Frame, ...]


def parse(text: str) -> list[Stack]:
    """The stacks in a text of :mod:`faulthandler`; that of the thread that wrote it is the last."""
    stacks: list[tuple[bool, str, list[Frame]]] = []
    frames: list[Frame] | None = None
    for line in text.splitlines():
        if (thread := _THREAD.match(line)) is not None:
            if len(stacks) == MOST_THREADS:
                break
            frames = []
            stacks.append((thread[1] != "Thread", thread[2] or "", frames))
        elif line == END or _COROUTINE.match(line) is not None:
            frames = None
        elif frames is not None:
            _add(frames, line)
    stacks.sort(key=lambda stack: stack[0])
    return [Stack(name, tuple(frames)) for _, name, frames in stacks]


def _add(frames: list[Frame], line: str) -> None:
    """Add the frame in this line, if it is one."""
    if len(frames) < MOST_FRAMES and (found := _FRAME.match(line)) is not None:
        number = 0 if found[2] == "???" else int(found[2])
        frames.append(Frame(found[1][-LENGTH:], number, found[3][:LENGTH]))


def coroutine_line(job: bytes, path: Path) -> str:
    """The line before the frames of the coroutine that runs a task."""
    return f"Coroutine {job.hex()} {'.'.join(map(str, path))}"


def coroutines(text: str) -> dict[tuple[bytes, Path], tuple[Frame, ...]]:
    """The stacks of the coroutines in a text: (job, path) of the task -> its frames, the innermost first."""
    found: dict[tuple[bytes, Path], list[Frame]] = {}
    frames: list[Frame] | None = None
    for line in text.splitlines():
        if (begun := _COROUTINE.match(line)) is not None:
            if len(found) == MOST_COROUTINES:
                break
            path = tuple(int(part[:20]) for part in begun[2].split(".") if part)
            frames = found.setdefault((bytes.fromhex(begun[1]), path), [])
        elif frames is not None:
            _add(frames, line)
    return {task: tuple(frames) for task, frames in found.items()}


def is_whole(text: str, *, more: bool = False) -> bool:
    """Whether a text ends where it has to end: with the outermost call of the main thread, or with more.

    A stack or a list that is too long ends with dots.

    Args:
        text: the text.
        more: whether other threads and coroutines are awaited, too.
    """
    if not text.endswith("\n"):
        return False
    lines = text.splitlines()
    if not more:
        return _OUTERMOST.fullmatch(lines[-1]) is not None
    return lines[-1] == END and any(_OUTERMOST.fullmatch(line) for line in lines)


def main_stack(stacks: Sequence[Stack]) -> Stack | None:
    """The stack of the main thread, which runs the stage's code."""
    return stacks[-1] if stacks else None


def of_code(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The frames of the stage's code, without those of zturbo that call it; empty where none runs."""
    for at in range(len(frames) - 1, 0, -1):
        if _CALLERS.search(frames[at].file) and not _OURS.search(frames[at - 1].file):
            return tuple(frames[:at])
    whole = bool(frames) and frames[-1].function == "<module>"
    return () if whole else tuple(frames)  # else the stack is too long to be all there


def collapsed(counted: Iterable[tuple[Sequence[Frame], int]]) -> str:
    """Stacks with the number of samples of each, in the format that flame graph tools read."""
    lines = []
    for frames, count in counted:
        names = [
            f"{frame.function} ({frame.file.rpartition('/')[2]})".replace(";", ":").replace("\n", " ")
            for frame in reversed(frames)
        ]
        lines.append(f"{';'.join(names) or '(idle)'} {count}\n")
    return "".join(sorted(lines))


def speedscope(
    name: str, counted: Sequence[tuple[Sequence[Frame], int]], interval: float
) -> dict[str, object]:
    """Stacks with the number of samples of each, as a document that speedscope.app opens.

    Args:
        name: of the profile.
        counted: (stack, the innermost call first; number of samples).
        interval: seconds from one sample to the next.
    """
    index: dict[Frame, int] = {}
    samples: list[list[int]] = []
    weights: list[float] = []
    for frames, count in counted:
        samples.append([index.setdefault(frame, len(index)) for frame in reversed(frames)])
        weights.append(count * interval)
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {
            "frames": [{"name": one.function, "file": one.file, "line": one.line} for one in index],
        },
        "profiles": [
            {
                "type": "sampled",
                "name": name,
                "unit": "seconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }
