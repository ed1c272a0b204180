"""The state of all jobs as rows of text: running jobs first; one row counts the jobs that have ended.

The board is pure: it takes statuses and times, and gives rows. If the broker does not know a job any more,
its client has released it. So the job has ended, even if the board never saw how.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, NamedTuple

from zturbo.jobstates import LIVE, title_of
from zturbo.slotted import field, slotted

__all__ = ["Board", "Row", "one_line", "sentence"]

WINDOW = 10.0
"""Seconds over which a rate is measured."""

NAME = 40
"""Characters of a name that are shown."""

REMEMBERED = 100_000
"""Jobs that have ended and are not counted again."""

LINE = 500
"""Characters of a sentence that are shown."""

APIECE = 5
"""Jobs with a sentence each, of those that began or ended alike between two looks; more of them share one."""


class Row(NamedTuple):
    """A line of the display."""

    name: str
    share: float | None
    """Part of the known work that is done, 0 to 1; None if the row has no bar."""
    text: str
    stage: bool = False
    """Whether the row is about one stage of the job above it."""


@slotted
class _Seen:
    """A job, as the broker last described it."""

    status: dict[str, Any]
    began: float
    samples: deque[tuple[float, tuple[int, ...]]] = field(default_factory=deque)
    """(monotonic time, tasks done in each stage), over the last ``WINDOW`` seconds."""


class Board:
    """All that is known of the jobs.

    Attributes:
        done: number of jobs that ended with a result.
        failed: number of jobs that ended without a result, or were cancelled.
        failed_tasks: number of failed tasks in all jobs that have ended.
    """

    def __init__(self) -> None:
        self.done = self.failed = self.failed_tasks = 0
        self._open: dict[str, _Seen] = {}
        self._ended: dict[str, None] = {}
        """Jobs whose end is noted; the oldest are forgotten."""

    def update(self, jobs: list[dict[str, Any]], now: float, *, whole: bool = True) -> list[str]:
        """Take the statuses of jobs.

        Args:
            jobs: the latest jobs that the broker knows, as :meth:`zturbo.Client.jobs` gives them.
            now: monotonic seconds.
            whole: whether all jobs that are not over are among them.

        Returns:
            A sentence for each job that has begun or ended since the last call. Many that have done so in the
            same way share one.
        """
        news: list[dict[str, Any]] = []
        done: list[dict[str, Any]] = []
        for status in jobs:
            if status["id"] in self._ended:
                continue
            before = self._open.get(status["id"])
            if status["state"] == "done" and not status["failed"]:
                done.append(status)
            elif before is None or before.status["state"] != status["state"]:
                news.append(status)
            if status["state"] in LIVE:
                self._sample(status, now)
            else:
                self._end(status)
        known = {status["id"] for status in jobs}
        for gone in [seen for name, seen in self._open.items() if whole and name not in known]:
            status = {**gone.status, "state": "done"}
            (news if status["failed"] else done).append(status)
            self._end(status)
        return _of_many(news) + _of_done(done)

    def ended(self, job_id: str, name: str, *, success: bool, results: int, failed: int) -> list[str]:
        """Note that a job has ended, perhaps before the broker describes it so.

        Args:
            job_id: of the job.
            name: of the job.
            success: whether it ended with a result.
            results: number of its results.
            failed: number of its failed tasks.

        Returns:
            A sentence about the job; none if its end was noted before.
        """
        if job_id in self._ended:
            return []
        state = "done" if success else "failed"
        counts = {"results": results, "failed": failed}
        status = {"id": job_id, "name": name, "state": state, "error": None, "waiting": None, **counts}
        self._end(status)
        return [_told(status)]

    def _sample(self, status: dict[str, Any], now: float) -> None:
        seen = self._open.setdefault(status["id"], _Seen(status, now))
        seen.status = status
        seen.samples.append((now, tuple(count["done"] for count in status["counts"])))
        while len(seen.samples) > 2 and now - seen.samples[0][0] > WINDOW:
            seen.samples.popleft()

    def _end(self, status: dict[str, Any]) -> None:
        self._open.pop(status["id"], None)
        self._ended[status["id"]] = None
        while len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]
        if status["state"] == "done":
            self.done += 1
        else:
            self.failed += 1
        self.failed_tasks += status["failed"]

    # -- rows ---------------------------------------------------------------------------------
    def rows(self, height: int, now: float) -> list[Row]:
        """Rows of running jobs with their stages, of waiting jobs, and of the jobs that have ended.

        Args:
            height: most rows.
            now: monotonic seconds.
        """
        order = sorted(self._open.values(), key=lambda seen: (seen.status["state"] != "running", seen.began))
        last = self._last()
        room = max(1, height - len(last))
        rows: list[Row] = []
        left = len(order)
        for seen in order:
            some = self._of(seen, now)
            if len(rows) + len(some) + (left > 1) > room:
                some = some[:1]
            if len(rows) + len(some) + (left > 1) > room:
                break
            rows += some
            left -= 1
        if left:
            waiting = sum(seen.status["state"] != "running" for seen in order[len(order) - left :])
            rows.append(Row(f"and {left} more jobs", None, f"{left - waiting} running, {waiting} waiting"))
        return rows + last

    def _last(self) -> list[Row]:
        total = self.done + self.failed
        if not total:
            return []
        text = f"{self.done} done"
        text += f", {self.failed} failed or cancelled" if self.failed else ""
        text += f"; {self.failed_tasks} failed tasks" if self.failed_tasks else ""
        return [Row(f"{total} job{'s' * (total > 1)} ended", None, text)]

    def _of(self, seen: _Seen, now: float) -> list[Row]:
        status = seen.status
        name = one_line(title_of(status))
        if status["state"] != "running":
            return [Row(name, None, sentence(status))]
        failed = f", {status['failed']} failed" if status["failed"] else ""
        waits = f"; waits for {one_line(status['waiting'], LINE)}" if status["waiting"] else ""
        text = f"running {_time(now - seen.began)}, {status['results']} results{failed}{waits}"
        head = Row(name, None, text)
        rates = self._rates(seen, now)
        return [head, *(self._stage(status, i, rate) for i, rate in enumerate(rates))]

    def _rates(self, seen: _Seen, now: float) -> list[float]:
        then, before = seen.samples[0]
        at, after = seen.samples[-1]
        if at <= then:
            return [0.0] * len(after)
        return [(b - a) / (at - then) for a, b in zip(before, after, strict=True)]

    def _stage(self, status: dict[str, Any], index: int, rate: float) -> Row:
        """The row of one stage.

        How many tasks the first stage gets is known once all roots have been fed. At later stages it is not,
        because a task may become any number of tasks. So their rows say ``84 of 129 so far``.
        """
        count = status["counts"][index]
        done, open_tasks = count["done"], count["queued"] + count["running"]
        declared = status["total"] if index == 0 else None
        total = max(done, declared if declared is not None else done + open_tasks)
        parts = [f"{done} of {total}{'' if declared is not None else ' so far'}"]
        if rate > 0:
            parts.append(f"{rate:.1f}/s" if rate < 10 else f"{rate:.0f}/s")
            if declared is not None and total > done:
                parts.append(f"{_time((total - done) / rate)} left")
        if count["failed"]:
            parts.append(f"{count['failed']} failed")
        return Row(one_line(count["stage"]), done / total if total else 0.0, ", ".join(parts), stage=True)


def _told(status: dict[str, Any]) -> str:
    """A sentence about one job, with its name."""
    return f"{one_line(status['name'])}: {sentence(status)}"


def _of_many(jobs: list[dict[str, Any]]) -> list[str]:
    """Sentences about jobs that have begun or ended, in their order; those that are alike may share one."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for status in jobs:
        alike.setdefault(sentence(status), []).append(status)
    sentences = []
    for text, some in alike.items():
        if len(some) <= APIECE:
            sentences += [_told(status) for status in some]
        else:
            others = sum(status.get("carries") or 1 for status in some) - 1
            many = re.sub("^waits for its turn", "wait for their turn", text)
            many = re.sub("^waits", "wait", many)
            sentences.append(f"{one_line(some[0]['name'])} and {others} other jobs: {many}")
    return sentences


def _of_done(jobs: list[dict[str, Any]]) -> list[str]:
    """Sentences about jobs that are done."""
    if len(jobs) <= APIECE:
        return [_told(status) for status in jobs]
    count = sum(status.get("carries") or 1 for status in jobs)
    results = sum(status["results"] for status in jobs)
    return [f"{count} jobs: done, {results} results"]


def one_line(text: object, longest: int = NAME) -> str:
    """A text that fits into a line: it has no characters that move the cursor, and is cut at ``longest``."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def sentence(status: dict[str, Any]) -> str:
    """A job's state, for people."""
    state: str = status["state"]
    if state == "waiting" and status["waiting"]:
        return f"waits for {one_line(status['waiting'], LINE)}"
    if state == "done":
        failed = f", {status['failed']} failed" if status["failed"] else ""
        return f"done, {status['results']} results{failed}"
    return f"{state}: {one_line(status['error'], LINE)}" if status["error"] else state


def _time(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole // 60 % 60:02} h"
