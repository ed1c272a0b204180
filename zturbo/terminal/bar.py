"""A progress bar for a user's own loops: on a terminal, quiet elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Generic, TypeVar

from zturbo.api.options import Options
from zturbo.checks import check_count, check_type
from zturbo.terminal.board import one_line

__all__ = ["ProgressBar", "progressbar"]

T = TypeVar("T")

LONGEST = 200
"""Characters of a description that are shown."""


class ProgressBar(Generic[T]):
    """One bar. Iterate over it, or ``update()`` it; ``close()`` it, or use it in a with statement.

    Args:
        iterable: what is iterated over, if anything.
        desc: what stands before the bar.
        total: how many steps there are; default the iterable's length, where it has one.
        show: False shows nothing.

    Attributes:
        n: steps done.
        total: steps in all, or None; it may be changed.
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
        self._bars = _bars() if show and sys.stderr.isatty() else None
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
        """So many steps more."""
        self.n += n
        self.refresh()

    def refresh(self) -> None:
        """Show ``n``, ``total`` and ``desc`` as they are now."""
        if self._bars is not None:
            shown = one_line(self.desc, LONGEST)
            self._bars.update(self._row, completed=self.n, total=self.total, description=shown)

    def set_description(self, desc: str) -> None:
        """What stands before the bar from now on."""
        self.desc = desc
        self.refresh()

    def close(self) -> None:
        """It is done; the bar stays where it is."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

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

    Args:
        iterable: what is iterated over, if anything.
        desc: what stands before the bar.
        total: how many steps there are.
        silent: show nothing; so does the option ``no_progress_bar``.
        kwargs: ``position`` and what else pyturbo handed to tqdm; without effect.
    """
    return ProgressBar(iterable, desc, total, show=not silent and not Options.no_progress_bar)


def _bars() -> Any:
    """A display for one bar; None where there is none to be had."""
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
    except LiveError:  # older versions of rich show one display at a time
        return None
    return bars
