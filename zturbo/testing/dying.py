"""A worker that dies once, at a planted place. Run by the node in place of the real module."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from zturbo.core.order.tree import BEFORE_ID
from zturbo.runtime.members import worker
from zturbo.runtime.node.children import ChildSide
from zturbo.runtime.process.running import RunningNote

__all__ = ["main"]


class _Dying(RunningNote):
    """A note that ends its process when the n-th task is noted, if no other worker did so before.

    Args:
        fd: of the shared memory.
        after: tasks before it.
        mark: a file that whoever dies makes, so that only one does.
    """

    def __init__(self, fd: int, after: int, mark: str) -> None:
        super().__init__(fd)
        self._left = after
        self._mark = mark

    def task(self, k: int) -> None:
        """This one runs now."""
        super().task(k)
        if k == BEFORE_ID:  # its id is asked for; it runs later
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
