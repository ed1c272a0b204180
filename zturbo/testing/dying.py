"""A worker that kills itself once, at a planted task. The node runs this module in place of the worker's."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from zturbo.core.order.tree import BEFORE_ID
from zturbo.runtime.members import worker
from zturbo.runtime.process.childside import ChildSide
from zturbo.runtime.process.running import RunningNote

__all__ = ["main"]


class _Dying(RunningNote):
    """A running note that kills its process when the planted task is noted, if no other worker died before.

    Args:
        fd: descriptor of the shared memory.
        after: number of tasks before the planted one.
        mark: path of a file that the worker makes before it dies, so that no second worker dies.
    """

    def __init__(self, fd: int, after: int, mark: str) -> None:
        super().__init__(fd)
        self._left = after
        self._mark = mark

    def task(self, k: int) -> None:
        """Note the task that runs now, and die if it is the planted one."""
        super().task(k)
        if k == BEFORE_ID:  # the code gives its sequence id; the task itself runs later
            return
        self._left -= 1
        if self._left == -1:
            try:
                os.close(os.open(self._mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


class _Side(ChildSide):
    def _open_note(self, fd: int) -> RunningNote:
        after, mark = self.spec["planted"]
        return _Dying(fd, after, mark)


def main() -> int:
    """Run the worker that the spec on stdin describes. Returns the exit status."""
    setattr(worker, "ChildSide", _Side)  # noqa: B010
    status: Any = worker.main()
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
