"""One page on a run, in one file: what it took, what limited it, what each worker did, what failed.

The page has no script and loads nothing. All texts in it are escaped: names, errors and lines of logs may
come from strangers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from zturbo.errortext import clip, shown_text
from zturbo.htmltext import cell, facts, table
from zturbo.slotted import field, slotted
from zturbo.telemetry.bottleneck import bottleneck, shown_time
from zturbo.telemetry.chrome import BESIDE, MEMORY
from zturbo.telemetry.flow import PipelineFlow, StageFlow, WorkerFlow

__all__ = ["KINDS", "Failed", "Lane", "Report", "lanes_of", "memory_of", "page"]

KINDS = {
    "code": ("the stage's code", "#2f7d4f"),
    "own": ("zturbo: packing and sending", "#7a5cc0"),
    "held": ("held back by what follows", "#d08a2e"),
    "input": ("waiting for input", "#c9d1d9"),
}
"""Kind of time -> (its name, its colour)."""

COLUMNS = 800
"""Steps of time in the picture of what workers did."""

LANE = 16
"""Height of a worker's lane in the pictures' units."""

MOST_LANES = 200
"""Workers that are drawn at most."""

MOST_LINES = 12
"""Processes whose memory is drawn at most: those that use most."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1f2328; background: #fff; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.limit { border-left: 4px solid #d08a2e; padding: .5rem 1rem; background: #fff8ec; color: #1f2328; }
table { border-collapse: collapse; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 1px solid #8c959f; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
.key span { display: inline-block; width: .9em; height: .9em; margin: 0 .4em 0 1em; vertical-align: -.1em; }
footer { margin-top: 3rem; color: #59636e; font-size: .85rem; }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3; } footer { color: #9198a1; }
}
"""


KEPT = "Workers keep what they did for some minutes"

LOST = 0.1
"""Part of the time of which nothing may be left without a word about it."""


@slotted
class Lane:
    """What one worker did: in each step of time, seconds of each kind."""

    pipeline: str
    stage: str
    worker: str
    """``host:pid``"""
    spent: dict[str, float] = field(default_factory=dict)
    """Kind -> seconds in all."""
    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    """Number of a step -> kind -> seconds."""
    tasks: int = 0


class Failed(NamedTuple):
    """A failed task."""

    path: str
    stage: str
    error: str
    given: str
    """Its input."""
    traceback: str


@slotted
class Report:
    """What the page tells."""

    title: str
    facts: Sequence[tuple[str, object]]
    since: float
    """Seconds since 1970."""
    until: float
    lanes: Sequence[Lane] = ()
    stages: Sequence[str] = ()
    """``pipeline.stage``, in the order of the pipelines."""
    memory: Mapping[str, Sequence[tuple[float, int]]] = field(default_factory=dict)
    """Process -> (seconds since ``since``, bytes)."""
    failed: Sequence[Failed] = ()
    more_failed: int = 0
    """Failed tasks that are not listed."""
    events: Sequence[tuple[float, str, str]] = ()
    """(seconds since ``since``, source, text)"""
    hosts: Sequence[Mapping[str, Any]] = ()
    """As ``Client.hosts()`` gives them."""


def lanes_of(trace: Mapping[str, Any], since: float, until: float) -> list[Lane]:
    """What each worker did in a span of time.

    Args:
        trace: as ``Client.trace()`` gives it.
        since: beginning of the span, in seconds since 1970.
        until: its end.
    """
    stages: dict[int, str] = {}
    lanes: dict[tuple[int, int], Lane] = {}
    width = max(until - since, 1e-9) / COLUMNS
    for event in trace["traceEvents"]:
        if event["ph"] == "M" and event["name"] == "process_name":
            stages[event["pid"]] = event["args"]["name"]
        elif event["ph"] == "M" and event["name"] == "thread_name" and event["tid"] < BESIDE:
            pipeline, _, _ = stages.get(event["pid"], "").partition(".")
            name = stages.get(event["pid"], "")
            lanes[event["pid"], event["tid"]] = Lane(pipeline, name, event["args"]["name"])
    for event in trace["traceEvents"]:
        lane = lanes.get((event["pid"], event["tid"]))
        if event["ph"] != "X" or event["cat"] not in KINDS or lane is None:
            continue
        begins, ends = event["ts"] / 1e6 - since, (event["ts"] + event["dur"]) / 1e6 - since
        begins, ends = max(begins, 0.0), min(ends, until - since)
        if ends <= begins:
            continue
        if event["cat"] == "code":
            lane.tasks += int(event["args"].get("tasks", 0))
        lane.spent[event["cat"]] = lane.spent.get(event["cat"], 0.0) + ends - begins
        for step in range(int(begins / width), min(COLUMNS - 1, int(ends / width)) + 1):
            part = min(ends, (step + 1) * width) - max(begins, step * width)
            kinds = lane.steps.setdefault(step, {})
            kinds[event["cat"]] = kinds.get(event["cat"], 0.0) + part
    return [lane for lane in lanes.values() if lane.stage]


def memory_of(trace: Mapping[str, Any], since: float, until: float) -> dict[str, list[tuple[float, int]]]:
    """The memory of each worker in a span of time, as far as its trace tells: (seconds after the span began,
    bytes).

    Args:
        trace: as ``Client.trace()`` gives it.
        since: beginning of the span, in seconds since 1970.
        until: its end.
    """
    events = trace["traceEvents"]
    metas = [event for event in events if event["ph"] == "M"]
    stages = {event["pid"]: event["args"]["name"] for event in metas if event["name"] == "process_name"}
    found: dict[str, list[tuple[float, int]]] = {}
    for event in events:
        if event["ph"] == "C" and event["name"].startswith(MEMORY) and event["ts"] / 1e6 <= until:
            name = f"{stages.get(event['pid'], '')} {event['name'].removeprefix(MEMORY)}"
            found.setdefault(name, []).append((max(0.0, event["ts"] / 1e6 - since), event["args"]["bytes"]))
    for points in found.values():
        points.append((until - since, points[-1][1]))
    return found


def page(report: Report) -> str:
    """The page, as HTML."""
    parts = [f"<h1>{cell(report.title)}</h1>", facts(report.facts)]
    parts += [f'<p class="limit">{cell(text)}</p>' for text in _limits(report)]
    if begun := [min(lane.steps) for lane in report.lanes if lane.steps]:
        if min(begun) > COLUMNS * LOST:
            lost = (report.until - report.since) * min(begun) / COLUMNS
            parts.append(
                f"<p>{KEPT}: nothing is left of the first {lost:,.0f} s, so the shares are too small.</p>"
            )
        parts += [
            "<h2>Stages</h2>",
            _stages(report),
            "<h2>What each worker did</h2>",
            _key(),
            _stream(report),
        ]
    else:
        parts.append(f"<p>{KEPT}: nothing is left of this time.</p>")
    if report.memory:
        parts += ["<h2>Memory</h2>", _memory(report)]
    if report.failed:
        parts += ["<h2>Failed tasks</h2>", *map(_failed, report.failed)]
        if report.more_failed:
            parts.append(f"<p>and {report.more_failed} more</p>")
    if report.events:
        rows = [(f"{at:.1f} s", source, text) for at, source, text in report.events]
        parts += ["<h2>What happened</h2>", table(("after", "who", "what"), rows)]
    if report.hosts:
        parts += ["<h2>Hosts</h2>", _hosts(report.hosts)]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{cell(report.title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n{body}\n'
        f"<footer>zturbo report</footer>\n</body></html>\n"
    )


def _flows(report: Report) -> list[PipelineFlow]:
    """The pipelines of the report's time, as the rule for bottlenecks takes them."""
    flows: dict[str, PipelineFlow] = {}
    seconds = max(report.until - report.since, 1e-9)
    for name in report.stages:
        pipeline, _, stage = name.partition(".")
        lanes = [lane for lane in report.lanes if lane.stage == name]
        workers = [
            WorkerFlow(
                lane.worker,
                name,
                lane.worker.rpartition(":")[0],
                0,
                0.0,
                shares=_shares(lane, seconds),
                rate=lane.tasks / seconds,
            )
            for lane in lanes
        ]
        flow = flows.setdefault(pipeline, PipelineFlow(pipeline, []))
        flow.stages.append(StageFlow(stage, wanted=len(workers), workers=workers))
    return list(flows.values())


def _shares(lane: Lane, seconds: float) -> tuple[float, float, float, float]:
    code, waited, held, own = (
        min(1.0, lane.spent.get(kind, 0.0) / seconds) for kind in ("code", "input", "held", "own")
    )
    return code, waited, held, own


def _limits(report: Report) -> list[str]:
    """What limited each pipeline that did anything."""
    flows = [flow for flow in _flows(report) if any(stage.rate for stage in flow.stages)]
    return [f"{flow.name}: {bottleneck(flow).text}" for flow in flows]


def _stages(report: Report) -> str:
    seconds = max(report.until - report.since, 1e-9)
    rows = []
    for name in report.stages:
        lanes = [lane for lane in report.lanes if lane.stage == name]
        tasks = sum(lane.tasks for lane in lanes)
        code = sum(lane.spent.get("code", 0.0) for lane in lanes)
        time = seconds * len(lanes) or 1.0
        shares = [f"{sum(lane.spent.get(kind, 0.0) for lane in lanes) / time:.0%}" for kind in KINDS]
        rows.append((name, len(lanes), tasks, shown_time(code / tasks if tasks else None), *shares))
    return table(("stage", "workers", "tasks", "time a task", *(text for text, _ in KINDS.values())), rows)


def _key() -> str:
    marks = "".join(
        f'<span style="background:{colour}"></span>{escape(text)}' for text, colour in KINDS.values()
    )
    return f'<p class="key">{marks}</p>'


def _axis(seconds: float, height: float, width: float, left: float) -> str:
    marks = []
    for quarter in range(5):
        x = left + width * quarter / 4
        anchor = "start" if not quarter else "end" if quarter == 4 else "middle"
        marks.append(
            f'<text x="{x:.0f}" y="{height:.0f}" text-anchor="{anchor}">{seconds * quarter / 4:.3g} s</text>'
        )
    return "".join(marks)


def _stream(report: Report) -> str:
    """A lane for each worker: in each step of time the kind that took most of it."""
    left = 190
    order = {name: number for number, name in enumerate(report.stages)}
    lanes = sorted(report.lanes, key=lambda lane: (order.get(lane.stage, len(order)), lane.worker))
    shown = lanes[:MOST_LANES]
    height = len(shown) * LANE + 20
    out = [f'<svg viewBox="0 0 {left + COLUMNS} {height}" role="img" aria-label="what each worker did">']
    for number, lane in enumerate(shown):
        y = number * LANE
        name = escape(shown_text(clip(f"{lane.stage} {lane.worker}", 32)))
        out.append(f'<text x="0" y="{y + LANE - 5}">{name}</text>')
        for start, stop, kind in _runs(lane):
            text, colour = KINDS[kind]
            place = f'x="{left + start}" y="{y}" width="{stop - start}" height="{LANE - 3}"'
            out.append(f'<rect {place} fill="{colour}"><title>{escape(text)}</title></rect>')
    out.append(_axis(report.until - report.since, height - 4, COLUMNS, left))
    left_out = f"<p>and {len(lanes) - len(shown)} more workers</p>" if len(lanes) > len(shown) else ""
    return "".join([*out, "</svg>", left_out])


def _runs(lane: Lane) -> list[tuple[int, int, str]]:
    """(first step, end, kind) of steps that follow one another with the same kind."""
    runs: list[tuple[int, int, str]] = []
    for step in sorted(lane.steps):
        kinds = lane.steps[step]
        kind = max(kinds, key=lambda one: kinds[one])
        if runs and runs[-1][1] == step and runs[-1][2] == kind:
            runs[-1] = (runs[-1][0], step + 1, kind)
        else:
            runs.append((step, step + 1, kind))
    return runs


def _memory(report: Report) -> str:
    """A line for each process, of those that use most."""
    left, high = 190, 160
    seconds = max(report.until - report.since, 1e-9)
    peaks = {name: max(size for _, size in points) for name, points in report.memory.items() if points}
    shown = sorted(peaks, key=lambda name: -peaks[name])[:MOST_LINES]
    top = max((peaks[name] for name in shown), default=0) or 1
    out = [f'<svg viewBox="0 0 {left + COLUMNS} {high + 20}" role="img" aria-label="memory of processes">']
    for number, name in enumerate(shown):
        hue = number * 360 // len(shown)
        points = " ".join(
            f"{left + min(at / seconds, 1.0) * COLUMNS:.0f},{high - size / top * (high - 10):.0f}"
            for at, size in report.memory[name]
        )
        label = escape(shown_text(clip(f"{peaks[name] / 1e6:,.0f} MB  {name}", 31)))
        out.append(
            f'<polyline points="{points}" fill="none" stroke="hsl({hue},60%,45%)" stroke-width="1.5"/>'
        )
        out.append(f'<text x="0" y="{12 + number * 13}" style="fill:hsl({hue},60%,45%)">{label}</text>')
    return "".join([*out, _axis(seconds, high + 16, COLUMNS, left), "</svg>"])


def _failed(failed: Failed) -> str:
    head = f"{cell(failed.path)} at {cell(failed.stage)}: {cell(failed.error)}"
    trace = escape(shown_text(clip(failed.traceback, 20_000)))
    return f"<details><summary>{head}</summary><p>input: {cell(failed.given)}</p><pre>{trace}</pre></details>"


def _hosts(hosts: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for host in hosts:
        processes = host["processes"]
        versions = ", ".join(sorted({one["version"] for one in processes if one["version"]}))
        pythons = ", ".join(sorted({one["python"] for one in processes if one["python"]}))
        rows.append(
            (host["host"], len(processes), versions, pythons, f"{(host['memory'] or 0) / 1e6:,.0f} MB")
        )
    return table(("host", "processes", "zturbo", "Python", "memory now"), rows)
