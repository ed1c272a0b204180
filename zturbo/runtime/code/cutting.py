"""Cutting a piece of work short while another thread runs it.

A piece of work has one iterator, which gives a value for each of its tasks. The thread that gets the value
has the task: the code's thread starts it, or the I/O thread gives it back to its sender. In CPython, a step
of an iterator that is written in C, as that of :func:`itertools.repeat` is, is one step for all threads: its
thread has the interpreter's lock meanwhile. So no task goes to both of them or to none.
"""

from __future__ import annotations

from collections.abc import Iterator

from zturbo.core.effects import Work

__all__ = ["cut_short", "start_next"]


def cut_short(work: Work) -> int:
    """In the I/O thread: let no more tasks start. Returns how many were started."""
    for _ in work.unstarted:
        work.cut += 1
    return work.size - work.cut


def start_next(unstarted: Iterator[None]) -> bool:
    """In the code's thread: start the next task. Returns False if it and all after it were taken back."""
    return next(unstarted, False) is None
