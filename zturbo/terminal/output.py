"""Takes the output of child processes line by line, so that whole lines appear above the progress display.

Children write to a pseudo-terminal, so that they flush each line and use colours, as on a real one.
"""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Callable

__all__ = ["ChildOutput"]

AT_ONCE = 1 << 16
LONGEST = 1 << 20
"""Most bytes of a line; a longer line is cut into pieces."""


class ChildOutput:
    """A pseudo-terminal that passes each line to a function.

    Args:
        say: called with each line, in this object's own thread; bytes that are not UTF-8 are replaced.

    Attributes:
        fd: descriptor for the children's stdout and stderr.
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
            except OSError:  # EIO: no process has the other end open any more
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
        """Pass on all lines that were printed.

        Args:
            timeout: seconds to wait for processes that still have the pseudo-terminal open.
        """
        os.close(self.fd)
        self._thread.join(timeout)


def _last_state(line: bytes) -> str:
    """The last state of a line that was overwritten from its beginning, as progress bars do."""
    parts = [part for part in line.split(b"\r") if part]
    return parts[-1].decode(errors="replace") if parts else ""
