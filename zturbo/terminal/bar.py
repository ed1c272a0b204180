"""A progress bar for a user's own loops. Where stderr is no terminal, it is a text: see ``barlines``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Generic, TypeVar

from zturbo.api.options import Options
from zturbo.checks import check_count, check_type
from zturbo.terminal.barlines import bar_lines
from zturbo.terminal.board import one_line

__all__ = ["ProgressBar", "progressbar"]

T = TypeVar("T")

LONGEST = 200
"""Most characters of a description that are shown."""


class ProgressBar(Generic[T]):
    """A progress bar. Iterate over it, or call ``update()`` and ``close()``, or use it in a with statement.

    Args:
        iterable: the iterable that the bar goes over; None if you call ``update()``.
        desc: text before the bar.
        total: number of steps; default the iterable's length, if it has one.
        show: False shows nothing.

    Attributes:
        n: number of steps done.
        total: number of steps in all, or None; it may be assigned.
        desc: text before the bar.

    Raises:
        UsageError: an argument has a wrong type.
    """

    def __init__(
        self,
        iterable: Iterable[T] | None = None,
        desc: str | None = None,
        total: int | None = None,
        *,
        show: bool = True,
    ) -> None:
        if total is not None:
            check_count("progressbar: total", total, 0)
        check_type("progressbar: desc", desc, (str, type(None)), "a str or None")
        check_type("progressbar: iterable", iterable, (Iterable, type(None)), "an iterable or None")
        self._iterable = iterable
        self.desc = desc or ""
        self.total = len(iterable) if total is None and isinstance(iterable, Sized) else total
        self.n = 0
        drawn = show and sys.stderr.isatty()
        self._bars = _bars() if drawn else None
        self._lines = bar_lines() if show and not drawn else None
        if self._bars is not None:
            self._row = self._bars.add_task(one_line(self.desc, LONGEST), total=self.total)

    def __iter__(self) -> Iterator[T]:
        if self._iterable is None:
            raise TypeError("this progressbar was made without an iterable: call update() for each step")
        try:
            for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()

    def update(self, n: int = 1) -> None:
        """Count ``n`` more steps as done."""
        self.n += n
        self.refresh()

    def refresh(self) -> None:
        """Show the present values of ``n``, ``total`` and ``desc``."""
        if self._bars is not None:
            shown = one_line(self.desc, LONGEST)
            self._bars.update(self._row, completed=self.n, total=self.total, description=shown)
        elif self._lines is not None:
            self._lines.update(one_line(self.desc, LONGEST), self.n, self.total)

    def set_description(self, desc: str) -> None:
        """Change the text before the bar."""
        self.desc = desc
        self.refresh()

    def close(self) -> None:
        """End the bar; it stays on the terminal."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        if self._lines is not None:
            self._lines.close(one_line(self.desc, LONGEST), self.n, self.total)
            self._lines = None

    def __enter__(self) -> ProgressBar[T]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def progressbar(
    iterable: Iterable[T] | None = None,
    desc: str | None = None,
    total: int | None = None,
    *,
    silent: bool = False,
    **kwargs: Any,
) -> ProgressBar[T]:
    """A progress bar over an iterable, or one to ``update()`` by hand.

    Where stderr is no terminal, a line each ten seconds tells how far it is; in a notebook, a text that
    changes.

    Args:
        iterable: the iterable that the bar goes over; None if you call ``update()``.
        desc: text before the bar.
        total: number of steps; default the iterable's length, if it has one.
        silent: whether to show nothing. The option ``no_progress_bar`` has the same effect.
        kwargs: arguments that pyturbo passed to tqdm, such as ``position``; without effect.

    Raises:
        UsageError: an argument has a wrong type.
    """
    return ProgressBar(iterable, desc, total, show=not silent and not Options.no_progress_bar)


def _bars() -> Any:
    """A display for one bar; None if rich cannot show one now."""
    from rich.console import Console
    from rich.errors import LiveError
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    try:
        bars.start()
    except LiveError:  # older versions of rich show only one display at a time
        return None
    return bars
