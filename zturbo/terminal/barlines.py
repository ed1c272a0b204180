"""How far a loop is, where no bar can be drawn: lines now and then, or in a notebook a text that changes."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["LINES_EVERY", "NOTEBOOK_EVERY", "BarLines", "bar_lines"]

LINES_EVERY = 10.0
"""Seconds between two lines in a file. A loop that takes less has none."""

NOTEBOOK_EVERY = 0.25
"""Seconds between two texts in a notebook."""


class BarLines:
    """Tells now and then how many steps are done, and in the end if it has told anything before.

    Args:
        tell: shows a text.
        every: seconds between two texts.
        clock: the time.
    """

    def __init__(
        self, tell: Callable[[str], object], every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._every = every
        self._clock = clock
        self._began = clock()
        self._due = self._began + every
        self._told = ""

    def update(self, desc: str, n: int, total: int | None) -> None:
        """So many steps are done."""
        if (now := self._clock()) >= self._due:
            self._due = now + self._every
            self._say(desc, n, total)

    def close(self, desc: str, n: int, total: int | None) -> None:
        """The loop is over."""
        if self._told:
            self._say(desc, n, total)

    def _say(self, desc: str, n: int, total: int | None) -> None:
        name, whole = f"{desc}: " if desc else "", "" if total is None else f" of {total}"
        text = f"{name}{n}{whole}"
        if text != self._told:
            self._told = text
            self._tell(f"{text}, {self._clock() - self._began:.0f} s")


def bar_lines() -> BarLines:
    """Texts for the place where this process shows them: a notebook's cell, or stderr."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return BarLines(_print, LINES_EVERY)
    display = importlib.import_module("IPython.display").display
    shown: list[Any] = []

    def tell(text: str) -> None:
        data = {"text/plain": text}
        if shown:
            shown[0].update(data, raw=True)
        else:
            shown.append(display(data, raw=True, display_id=True))

    return BarLines(tell, NOTEBOOK_EVERY)


def _print(line: str) -> None:
    stream = sys.stderr
    stream.write(f"{line}\n")  # in one write, so that no other process's line comes between
    stream.flush()
