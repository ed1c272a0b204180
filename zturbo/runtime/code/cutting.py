"""Cutting a piece of work short while another thread runs it.

Each task of a piece of work has one entry in a deque. The thread that gets the entry has the task: the code's
thread starts it, or the I/O thread gives it back to its sender. Both ends of a deque may be popped by several
threads at a time, as the Python library's documentation says, so no task goes to both of them or to none.
"""

from __future__ import annotations

from collections import deque

from zturbo.core.effects import Work

__all__ = ["cut_short", "start_next"]


def cut_short(work: Work) -> int:
    """In the I/O thread: let no more tasks start. Returns how many were started."""
    unstarted = work.unstarted
    try:
        while True:
            unstarted.pop()
            work.cut += 1
    except IndexError:
        return work.size - work.cut


def start_next(unstarted: deque[None]) -> bool:
    """In the code's thread: start the next task. Returns False if it and all after it were taken back."""
    try:
        unstarted.popleft()
    except IndexError:
        return False
    return True
