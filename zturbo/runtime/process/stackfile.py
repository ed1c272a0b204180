"""The Python stacks of a child, which its node asks for by a signal.

:mod:`faulthandler` handles the signal in C, whatever holds the interpreter: a loop, a call of native code, a
lock. It writes the stacks into memory that the child shares with its node. Nothing is written until a node
asks.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
from collections.abc import Callable

from zturbo.runtime.process.descriptors import out_of_the_way

__all__ = ["SIGNAL", "StackFile", "also_answer", "answer_signals", "is_answered"]

SIGNAL = signal.SIGRTMIN + 11
"""A signal of no meaning to others, so that the stage's code may use SIGUSR1 and SIGUSR2."""

LONGEST = 512 << 10
"""Bytes that are read at most."""

_answers_to: int | None = None
"""The descriptor that this process writes to."""


def answer_signals(fd: int) -> None:
    """From now on, write the stacks of this process to that descriptor at each signal."""
    global _answers_to
    _answers_to = out_of_the_way(fd)
    faulthandler.register(SIGNAL, file=_answers_to, all_threads=True)


def also_answer(text: Callable[[], str]) -> None:
    """From now on, write this text too. It comes behind the stacks, once the main thread runs Python code.

    Args:
        text: gives it, in the main thread, between two steps of other code.
    """
    fd = _answers_to
    if fd is None:
        return

    def more(number: int, frame: object) -> None:
        with contextlib.suppress(Exception):  # the code of the stage goes on, whatever this was
            os.write(fd, text().encode(errors="replace"))

    faulthandler.unregister(SIGNAL)
    signal.signal(SIGNAL, more)
    faulthandler.register(SIGNAL, file=fd, all_threads=True, chain=True)


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


def is_answered(pid: int) -> bool:
    """Whether a process handles the signal, so that it does no harm. False for one that is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    caught = next((line for line in lines if line.startswith(b"SigCgt:")), b"SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (SIGNAL - 1) & 1)
