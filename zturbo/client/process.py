"""Objects that have threads work only in the process that made them."""

from __future__ import annotations

import os

from zturbo.errors import UsageError

__all__ = ["check_process"]


def check_process(pid: int, what: str, advice: str) -> None:
    """Raise UsageError in a forked child, which has a copy of an object without its threads.

    Args:
        pid: of the process that made the object.
        what: the object, for people.
        advice: why it does not work in the child, and what to do.
    """
    if os.getpid() != pid:
        raise UsageError(
            f"{what} was made in process {pid}, and process {os.getpid()} was forked from it: {advice}"
        )
