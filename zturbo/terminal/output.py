"""What child processes print, line by line: so that it stands whole above a display that is drawn anew.

Children write to a pseudo-terminal, so that they flush each line and use colours, as on the real one.
"""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Callable

__all__ = ["ChildOutput"]

AT_ONCE = 1 << 16
LONGEST = 1 << 20
"""Bytes of a line; a longer one is cut in pieces."""


class ChildOutput:
    """A pseudo-terminal whose lines are handed on.

    Args:
        say: called with each line, in a thread of this object's; bytes that are no UTF-8 are replaced.

    Attributes:
        fd: a descriptor to hand to children as their stdout and stderr.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._master, self.fd = os.openpty()
        tty.setraw(self.fd)
        self._say = say
        self._thread = threading.Thread(target=self._read, name="zturbo-output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                raw = os.read(self._master, AT_ONCE)
            except OSError:  # EIO: nobody has the other end any more
                raw = b""
            *lines, rest = (rest + raw).split(b"\n")
            if not raw or len(rest) > LONGEST:
                lines, rest = [*lines, rest], b""
            for line in lines:
                if line:
                    self._say(_last_state(line))
            if not raw:
                os.close(self._master)
                return

    def close(self, timeout: float = 2.0) -> None:
        """Hand on all that was printed; what is left open by a process that goes on is not waited for."""
        os.close(self.fd)
        self._thread.join(timeout)


def _last_state(line: bytes) -> str:
    """A line as it stood at its end, where it was overwritten from its beginning, as bars do it."""
    parts = [part for part in line.split(b"\r") if part]
    return parts[-1].decode(errors="replace") if parts else ""
