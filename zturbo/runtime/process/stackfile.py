"""The Python stacks of a child, which its node asks for by signals.

:mod:`faulthandler` handles the first signal in C, whatever holds the interpreter: a loop, a call of native
code, a lock. It writes the stack of the main thread, which is interrupted for this, into memory that the
child shares with its node. It must not look at other threads: they go on meanwhile, and a look at a frame
that one leaves ends the process. So Python code handles the second signal, and adds the other threads, and
where coroutines stand, once the main thread runs Python code. Nothing is written until a node asks.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from zturbo.runtime.process.descriptors import out_of_the_way
from zturbo.telemetry.stacks import END

__all__ = ["MORE", "SIGNAL", "StackFile", "also_answer", "answer_signals", "is_answered"]

SIGNAL = signal.SIGRTMIN + 11
"""A signal of no meaning to others, so that the stage's code may use SIGUSR1 and SIGUSR2."""

MORE = signal.SIGRTMIN + 12
"""Asks for all else, once the first one is answered."""

LONGEST = 512 << 10
"""Bytes that are read at most."""

THREADS, DEEP = 200, 100
"""Other threads, and frames of each, that are written at most."""

_answers_to: int | None = None
"""The descriptor that this process writes to."""

_also: Callable[[], str] | None = None
"""Text that follows the threads."""


def answer_signals(fd: int) -> None:
    """From now on, write the stacks of this process to that descriptor at each signal."""
    global _answers_to
    _answers_to = out_of_the_way(fd)
    faulthandler.register(SIGNAL, file=_answers_to, all_threads=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(MORE, _answer_more)


def also_answer(text: Callable[[], str]) -> None:
    """From now on, write this text too, behind the other threads.

    Args:
        text: gives it, in the main thread, between two steps of other code.
    """
    global _also
    _also = text


def _answer_more(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(Exception):  # the code of the stage goes on, whatever this was
        if _answers_to is not None:
            text = f"{_other_threads()}{_also() if _also is not None else ''}{END}\n"
            os.write(_answers_to, text.encode(errors="replace"))


def _other_threads() -> str:
    """The stacks of all threads but this one, as :mod:`faulthandler` writes them."""
    lines: list[str] = []
    mine = threading.get_ident()
    others = {thread: top for thread, top in sys._current_frames().items() if thread != mine}
    for thread, top in list(others.items())[:THREADS]:
        lines.append(f"Thread 0x{thread:016x} (most recent call first):")
        at: FrameType | None = top
        for _ in range(DEEP):
            if at is None:
                break
            code = at.f_code
            lines.append(f'  File "{code.co_filename}", line {at.f_lineno or "???"} in {code.co_name}')
            at = at.f_back
        lines.append("")
    return "\n".join([*lines, ""])


class StackFile:
    """The node's end of the memory.

    Args:
        fd: descriptor of the memory; it is closed here. Both ends share its position.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @staticmethod
    def make() -> int:
        """A new piece of memory, as a descriptor that a child may inherit."""
        return os.memfd_create("zturbo-stack", os.MFD_CLOEXEC)

    def clear(self) -> None:
        """Forget what was written, before a new question."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.ftruncate(self._fd, 0)

    def read(self) -> str:
        """What was written since."""
        return os.pread(self._fd, LONGEST, 0).decode(errors="replace")

    def close(self) -> None:
        """Let go of the memory."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


def is_answered(pid: int, number: int = SIGNAL) -> bool:
    """Whether a process handles this signal, so that it does no harm. False for one that is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    caught = next((line for line in lines if line.startswith(b"SigCgt:")), b"SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
