"""Reports on runs: asks the broker and the nodes for what ``zturbo.telemetry.report`` shows."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from zturbo.client.reader import FailedTask
from zturbo.errors import ZturboError
from zturbo.jobstates import ENDED, title_of
from zturbo.telemetry.flow import by_pipeline
from zturbo.telemetry.report import Failed, Report, lanes_of, memory_of, page
from zturbo.version import __version__

__all__ = ["RunReport", "job_report"]

log = logging.getLogger("zturbo.client")

MOST_FAILED = 100
"""Failed tasks that a report lists at most."""

MOST_EVENTS = 200
"""Lines of the log that a report shows at most: the last ones."""

EVERY = 1.0
"""Seconds between two looks at the memory of all processes."""

SPARE = 1.0
"""Seconds before a run that are asked for too: clocks differ."""


class _Client(Protocol):
    """What a report needs of a client."""

    def describe(self, *, most: int | None = None) -> dict[str, Any]: ...

    def telemetry(self) -> dict[str, Any]: ...

    def pipelines(self) -> list[dict[str, Any]]: ...

    def hosts(self) -> list[dict[str, Any]]: ...

    def trace(self, *, last: float) -> dict[str, Any]: ...

    def logs(self, job: str | None = None, *, level: str) -> list[dict[str, Any]]: ...

    def attach(self, job_id: str, *, from_start: bool) -> Any: ...


def job_report(client: _Client, status: dict[str, Any], *, failures: bool = False) -> Report:
    """A report on one job.

    Args:
        client: of its broker.
        status: the job's, as ``client.jobs()`` gives it.
        failures: list its failed tasks too. This reads its results, and takes them over from another reader.

    Raises:
        ZturboError: the broker does not answer.
    """
    clock = client.describe(most=0)["clock"]
    since, until = status["created"], status["ended"] or clock
    known: list[tuple[str, object]] = [
        ("job", status["id"]),
        ("pipeline", status["pipeline"]),
        ("state", status["state"] + (f", waits for {status['waiting']}" if status["waiting"] else "")),
        ("submitted", f"{datetime.fromtimestamp(since):%Y-%m-%d %H:%M:%S}"),
        ("took", f"{until - since:,.2f} s" if status["state"] in ENDED else f"{until - since:,.2f} s so far"),
        ("root tasks", status["fed"]),
        ("results", status["results"]),
        ("failed tasks", status["failed"]),
        ("runs", status["epoch"]),
    ]
    if status["options"]:
        known.append(("options", ", ".join(f"{name} = {value}" for name, value in status["options"].items())))
    if status["error"]:
        known.append(("error", status["error"]))
    failed: list[Failed] = []
    if failures and status["failed"] and status["state"] == "done":
        tasks = client.attach(status["id"], from_start=True).failed
        failed = [_failed(task) for task in tasks[:MOST_FAILED] if isinstance(task, FailedTask)]
    lines = client.logs(status["id"], level="WARNING")
    report = _report(client, f"Job {title_of(status)}", [*known, *_made()], since, until, clock, lines)
    report.failed, report.more_failed = failed, max(0, status["failed"] - len(failed)) if failed else 0
    return report


class RunReport:
    """A report on all that runs while a block of code does; :meth:`zturbo.Client.report` makes one.

    It looks at the memory of all processes once a second, in a thread of its own.
    """

    def __init__(self, client: _Client, path: Path) -> None:
        self._client = client
        self._path = path
        self._over = threading.Event()
        self._memory: dict[str, list[tuple[float, int]]] = {}
        self._thread = threading.Thread(target=self._watch, name="zturbo-report", daemon=True)
        self._since = 0.0
        self._known: set[str] = set()

    def __enter__(self) -> RunReport:
        told = self._client.describe()
        self._since = told["clock"]
        self._known = {job["id"] for job in told["jobs"] if job["state"] in ENDED}
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._write()
        except ZturboError as error:  # the block's own end matters more
            log.warning("no report was written to %s: %s", self._path, error)

    def _write(self) -> None:
        told = self._client.describe()
        jobs = [job for job in told["jobs"] if job["id"] not in self._known]
        known: list[tuple[str, object]] = [
            ("began", f"{datetime.fromtimestamp(self._since):%Y-%m-%d %H:%M:%S}"),
            ("took", f"{told['clock'] - self._since:,.2f} s"),
            ("jobs", sum(job["carries"] or 1 for job in jobs)),
            ("results", sum(job["results"] for job in jobs)),
            ("failed tasks", sum(job["failed"] for job in jobs)),
        ]
        lines = [line for line in self._client.logs(level="WARNING") if line["at"] >= self._since]
        title = ", ".join(dict.fromkeys(title_of(job) for job in jobs[:5])) or "no job"
        report = _report(
            self._client,
            f"Run of {title}",
            [*known, *_made()],
            self._since,
            told["clock"],
            told["clock"],
            lines,
        )
        report.memory = self._memory
        self._path.write_text(page(report))
        log.info("the report is %s", self._path)

    def _watch(self) -> None:
        began = time.monotonic()
        last, wait = False, 0.0
        while not last:
            last, wait = self._over.wait(wait), EVERY
            at = time.monotonic() - began
            try:
                for flow in by_pipeline(self._client.telemetry()):
                    for stage in flow.stages:
                        for worker in stage.workers:
                            name = f"{worker.name} {worker.host}:{worker.pid}"
                            self._memory.setdefault(name, []).append((at, worker.memory))
            except ZturboError as error:
                log.debug("the memory of processes is not known: %s", error)


def _report(
    client: _Client,
    title: str,
    known: Sequence[tuple[str, object]],
    since: float,
    until: float,
    clock: float,
    lines: Sequence[dict[str, Any]],
) -> Report:
    trace = client.trace(last=clock - since + SPARE)
    events = [(max(0.0, line["at"] - since), line["source"], line["text"]) for line in lines[-MOST_EVENTS:]]
    return Report(
        title,
        known,
        since,
        until,
        lanes=lanes_of(trace, since, until),
        memory=memory_of(trace, since, until),
        stages=[f"{one['name']}.{stage}" for one in client.pipelines() for stage in one["stages"]],
        events=events,
        hosts=client.hosts(),
    )


def _made() -> list[tuple[str, object]]:
    """Where the report was made."""
    machine = (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    )
    return [("made by", f"zturbo {__version__} on {platform.node()}: {machine}")]


def _failed(task: FailedTask) -> Failed:
    return Failed(task.place, task.stage, str(task.error), task.shown, task.traceback)
