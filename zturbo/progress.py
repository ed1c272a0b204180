"""Progress of jobs on a terminal: a bar per job, and a count per stage.

Bars stand on a terminal; elsewhere there are lines, as each job begins and ends. A job that has ended becomes
a line above the bars, so the bars are those of jobs that are under way. ``NO_COLOR`` is honoured by rich.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["Progress"]


class Progress:
    """Shows snapshots of jobs, as :meth:`zturbo.Client.jobs` gives them.

    Args:
        show: False for no bars, only lines.
    """

    def __init__(self, *, show: bool = True) -> None:
        self._bars: Any = None
        self._rows: dict[tuple[str, int], int] = {}
        self._states: dict[str, str] = {}
        if show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                refresh_per_second=8,
                transient=True,  # a last frame would say "running" for ever; what ended has its line
            )
            self._bars.start()

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        line = _printable(line)
        if self._bars is not None:
            self._bars.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is what shows things

    def update(self, jobs: list[dict[str, Any]]) -> None:
        """Show these jobs."""
        for job in jobs:
            state = job["state"]
            before = self._states.get(job["id"])
            if before in ("done", "failed", "cancelled"):
                continue
            self._states[job["id"]] = state
            if self._bars is not None and state in ("waiting", "running"):
                self._draw(job)
            elif before != state:
                self._remove(job["id"])
                self.say(f"{job['name']}: {_sentence(job)}")

    def _draw(self, job: dict[str, Any]) -> None:
        most = max([*job["done"], job["results"], job["fed"], 1])
        rows = list(zip(job["stages"], job["done"], strict=True))
        for i, (label, done) in enumerate([(job["name"], job["results"]), *rows]):
            key = (job["id"], i)
            name = _printable(label if i == 0 else f"  {label}")
            note = _printable(_sentence(job)) if i == 0 else ""
            if key not in self._rows:
                self._rows[key] = self._bars.add_task(name, total=most, note=note)
            self._bars.update(self._rows[key], completed=done, total=most, note=note)

    def _remove(self, job_id: str) -> None:
        for key in [key for key in self._rows if key[0] == job_id]:
            self._bars.remove_task(self._rows.pop(key))

    def close(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def _sentence(job: dict[str, Any]) -> str:
    state: str = job["state"]
    if state == "waiting" and job["waiting"]:
        return f"waits for {job['waiting']}"
    if state == "done" and job["failed"]:
        return f"done, {job['failed']} failed"
    return f"{state}: {job['error']}" if job["error"] else state


def _printable(text: str) -> str:
    """The text without what would steer the terminal, or could not be written to it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
