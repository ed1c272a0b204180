"""Members as :meth:`zturbo.Client.telemetry` gives them, for tests."""

from __future__ import annotations

from typing import Any

from zturbo.telemetry.histogram import Histogram
from zturbo.wire.control.report import Report

__all__ = ["member", "telemetry"]

SECOND = 1_000_000


def member(
    stage: int,
    *,
    code: float = 0.0,
    held: float = 0.0,
    own: float = 0.0,
    rate: float = 0.0,
    waiting: int = 0,
    pending: int = 0,
    each: float = 0.01,
    host: str = "h",
    age: float = 0.5,
    ordered: bool = False,
    running: int = 1,
    cpu: float = 0.1,
    seconds: int = 4,
    number: int = 0,
    outputs: int = 1,
) -> dict[str, Any]:
    """A member whose time went to these parts in the last seconds; the rest was waiting for input."""
    times = Histogram()
    tasks = round(rate * seconds)
    times.add(tasks, tasks * each)
    latest = Report(
        clock=(10 + seconds) * SECOND,
        code=round(code * seconds * SECOND),
        held=round(held * seconds * SECOND),
        own=round(own * seconds * SECOND),
        input=round((1 - code - held - own) * seconds * SECOND),
        tasks=tasks,
        outputs=tasks * outputs,
        waiting=waiting,
        pending=pending,
        running=running,
        times=times.trimmed(),
        cpu=round(cpu * seconds * SECOND),
        memory=1000,
        shared=200,
        received=5000 * seconds + 1,
        sent=3000 * seconds + 1,
        cores=8,
    )
    return {
        "incarnation": f"{stage}{number}".rjust(32, "0"),
        "name": "sink" if stage < 0 else f"p.{'abc'[stage]}",
        "pipeline": "" if stage < 0 else "p",
        "stage": stage,
        "host": host,
        "pid": 1,
        "ordered": ordered,
        "heard": 0.0,
        "age": age,
        "latest": latest.as_map() | {name: getattr(latest, name) for name in Report.kinds()},
        "before": {
            name: getattr(Report(clock=10 * SECOND, received=1, sent=1), name) for name in Report.kinds()
        },
    }


def telemetry(*members: dict[str, Any], backlog: int = 0, wanted: tuple[int, ...] = ()) -> dict[str, Any]:
    """A pipeline ``p`` of the stages a, b and c."""
    counts = [sum(one["stage"] == stage for one in members) for stage in range(3)]
    return {
        "pipelines": [
            {"name": "p", "stages": ("a", "b", "c"), "wanted": wanted or tuple(counts), "backlog": backlog}
        ],
        "members": list(members),
    }
