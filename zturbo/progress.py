"""Progress of jobs on a terminal: a bar per job, and a count per stage.

With ``rich`` (extra ``cli``) on a terminal; elsewhere lines, as each job begins and ends. ``NO_COLOR`` is
honoured by rich.
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
            try:
                from rich.console import Console
                from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
                from rich.progress import Progress as Bars
            except ImportError:
                return
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                refresh_per_second=8,
            )
            self._bars.start()

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        if self._bars is not None:
            self._bars.console.print(line, highlight=False, markup=False)
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
            if self._bars is not None:
                self._draw(job)
            elif before != state:
                self.say(f"{job['name']}: {_sentence(job)}")

    def _draw(self, job: dict[str, Any]) -> None:
        over = job["state"] not in ("waiting", "running")
        most = max([*job["done"], job["results"], job["fed"], 1])
        rows = list(zip(job["stages"], job["done"], strict=True)) if not over else []
        for i, (label, done) in enumerate([(job["name"], job["results"]), *rows]):
            key = (job["id"], i)
            name = f"[bold]{label}" if i == 0 else f"  {label}"
            note = _sentence(job) if i == 0 else ""
            if key not in self._rows:
                self._rows[key] = self._bars.add_task(name, total=most, note=note)
            total = max(done, 1) if over else most
            self._bars.update(self._rows[key], completed=done, total=total, note=note)
        if over:
            for (job_id, i), row in list(self._rows.items()):
                if job_id == job["id"] and i > 0:
                    self._bars.remove_task(row)
                    del self._rows[(job_id, i)]
            self._bars.stop_task(self._rows[(job["id"], 0)])

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
