"""Progress of jobs: a display at the bottom of a terminal; elsewhere, a line when a job begins or ends.

Lines that this process prints or logs meanwhile appear whole above the display. So do lines of children that
write to :attr:`Progress.output`. rich honours ``NO_COLOR``.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zturbo.jobstates import ENDED, LIVE
from zturbo.terminal.board import Board, Row
from zturbo.terminal.output import ChildOutput

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Progress"]

REFRESH = 0.25
"""Seconds between two looks at the jobs, while a job runs or waits."""

PAGE = 500
"""Jobs that are looked at, at most."""

SPARE = 20
"""Jobs that are looked at beside those that go on and those that have ended since: more may have come."""

IDLE = 1.0
"""Seconds between two looks while there is none."""

REST = 19
"""Times as long as an answer takes until the next question: a display must not fill the broker's time."""


class _Above:
    """Stands for stdout or stderr: prints whole lines above the display. All else is the real stream's."""

    def __init__(self, real: Any, say: Callable[[str], None]) -> None:
        self._real = real
        self._say = say
        self._lock = threading.RLock()
        self._rest = ""

    def write(self, text: str) -> int:
        """Print all lines that are whole now."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._say(line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: a line without an end waits for its end."""

    def finish(self) -> None:
        """Print a last line without an end."""
        with self._lock:
            rest, self._rest = self._rest, ""
        if rest:
            self._say(rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Progress:
    """Shows snapshots of jobs, as :meth:`zturbo.Client.jobs` gives them.

    Args:
        show: False for no display, only lines.

    Attributes:
        output: descriptor for children's stdout and stderr, so that their lines appear above the display;
            None if there is no display.
    """

    def __init__(self, *, show: bool = True) -> None:
        self._board = Board()
        self._lock = threading.RLock()
        """Held by each method that uses the terminal: rich draws wrongly if two threads print at a time."""
        self._live: Any = None
        self._drawn = False
        """Whether there is, or was, a display. Then progress is not printed as lines, too."""
        self._children: ChildOutput | None = None
        self._streams: list[tuple[str, Any, _Above]] = []
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []
        self.output: int | None = None
        if show and sys.stderr.isatty():
            self._begin()

    def _begin(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=sys.stderr)  # the real stream, even while another stands for it
        live = Live(
            get_renderable=self._render,
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        try:
            live.start()
        except Exception:  # rich shows one display at a time, and needs a terminal that it knows
            return
        self._live, self._drawn = live, True
        self._lead_through()
        self._children = ChildOutput(self.say)
        self.output = self._children.fd

    def _lead_through(self) -> None:
        """Let all that this process prints and logs to the terminal appear above the display."""
        for name in ("stdout", "stderr"):
            real = getattr(sys, name)
            if not real.isatty():
                continue
            above = _Above(real, self.say)
            setattr(sys, name, above)
            self._streams.append((name, real, above))
            for logger in (None, *logging.root.manager.loggerDict):
                for handler in logging.getLogger(logger).handlers:
                    if isinstance(handler, logging.StreamHandler) and handler.stream is real:
                        handler.setStream(above)
                        self._handlers.append((handler, real))

    def _lead_back(self) -> None:
        for name, real, above in self._streams:
            above.finish()
            if getattr(sys, name) is above:
                setattr(sys, name, real)
        for handler, real in self._handlers:
            handler.setStream(real)
        self._streams.clear()
        self._handlers.clear()

    def say(self, line: str) -> None:
        """Print a line above the display."""
        with self._lock:
            if self._live is None:
                stream = sys.stderr
                stream.write(f"{line}\n")  # in one write, so that no other process's line comes between
                stream.flush()
                return
            from rich.text import Text

            self._live.console.print(Text.from_ansi(line), soft_wrap=True)

    def update(self, jobs: list[dict[str, Any]], *, whole: bool = True) -> None:
        """Show the statuses of jobs.

        Args:
            jobs: the latest jobs that the broker knows.
            whole: whether all jobs that are not over are among them.
        """
        with self._lock:
            sentences = self._board.update(jobs, time.monotonic(), whole=whole)
            if self._live is not None:
                self._live.refresh()
        self._tell(sentences)

    def follow(self, describe: Callable[..., dict[str, Any]], goes_on: Callable[[], bool]) -> None:
        """Show the jobs again and again. What ``describe`` raises ends it.

        Args:
            describe: asks for a page of the jobs, as :meth:`zturbo.Client.describe` does.
            goes_on: whether they are to be shown still.
        """
        pause = threading.Event()
        before: dict[str, int] = {}
        while goes_on():
            asked = time.monotonic()
            totals = describe(most=0)["totals"]  # a row of a job costs the broker a fifth of a millisecond
            live = sum(count for state, count in totals.items() if state in LIVE)
            states: set[str] = set()
            if live or totals != before:
                ended = sum(totals.get(state, 0) - before.get(state, 0) for state in ENDED)
                page = describe(most=min(PAGE, live + max(0, ended) + SPARE))
                states = {status["state"] for status in page["jobs"]}
                self.update(page["jobs"], whole=not page["next"] or bool(states - LIVE))
            before = totals
            now = time.monotonic()
            until = now + REST * (now - asked)
            pause.wait(REFRESH if states & LIVE else IDLE)
            while time.monotonic() < until and goes_on():
                pause.wait(REFRESH)

    def ended(self, job_id: str, name: str, *, success: bool, results: int, failed: int) -> None:
        """Note that a job has ended, perhaps before the broker describes it so; see :meth:`Board.ended`."""
        with self._lock:
            sentences = self._board.ended(job_id, name, success=success, results=results, failed=failed)
        self._tell(sentences)

    def _tell(self, sentences: list[str]) -> None:
        """Print the sentences, unless there is a display."""
        if not self._drawn:
            for line in sentences:
                self.say(line)

    def _render(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            rows = self._board.rows(max(1, self._console.size.height - 2), time.monotonic())
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, width=20)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for row in rows:
            bar = "" if row.share is None else ProgressBar(total=1.0, completed=row.share, width=20)
            table.add_row(Text(_name(row), style="" if row.stage else "bold"), bar, Text(row.text))
        return table

    def close(self) -> None:
        """End the display; its last state stays on the terminal."""
        if self._children is not None:
            self._children.close()
            self._children = self.output = None
        self._lead_back()
        with self._lock:
            live, self._live = self._live, None
            if live is not None:
                live.stop()


def _name(row: Row) -> str:
    return f"  {row.name}" if row.stage else row.name
