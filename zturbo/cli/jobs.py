"""``zturbo jobs``: lists the broker's jobs and pipelines."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from zturbo.cli.ask import add_broker, connect
from zturbo.cli.printed import fit, one_line, paint, print_json, print_line, table
from zturbo.client.client import Client
from zturbo.client.job_ids import short
from zturbo.errortext import shown
from zturbo.jobstates import ENDED, LIVE, title_of
from zturbo.telemetry.flow import by_pipeline
from zturbo.terminal.progress import REST
from zturbo.terminal.top import shown_bytes

__all__ = ["add", "pipeline_line", "run", "sizes", "span_text", "times", "with_memory"]

EPILOG = """\
examples:
  zturbo jobs
  zturbo jobs --all --json
  zturbo jobs --watch
"""

OPEN = "no keys: whoever reaches this broker can run jobs, read results and send forged ones ('zturbo keys')"

EVERY = 1.0
"""Seconds between two questions to the broker, with --watch."""

PAGE = 100
"""Jobs in one answer of the broker."""

SHOWN = 20
"""Number of ended jobs that are shown without --all."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "jobs",
        help="list jobs and stages",
        description="Lists the broker's jobs, how far they are or what they wait for, and the workers of "
        "each stage with their memory. AGE is the time since a job's submit, TOOK that from its submit to "
        "its end. MEMORY is about what it takes of the broker's memory until it ends, with the root tasks "
        "that wait there; STORED is about what its results take of the sink's disk meanwhile; workers share "
        "their memory between jobs. A running job's line has, for each stage, "
        "the tasks done and the tasks running: "
        "'detect 120+4'. 'zturbo job JOB' shows one job in detail.",
        epilog=EPILOG,
    )
    parser.add_argument("--all", action="store_true", help=f"show all jobs that have ended, not only {SHOWN}")
    parser.add_argument(
        "-w", "--watch", action="store_true", help="list them again each second, until Ctrl-C"
    )
    add_broker(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with connect(args) as client:
        while True:
            asked = time.monotonic()
            value = client.describe() if args.all or args.json else _latest(client)
            value["pipelines"] = with_memory(value["pipelines"], client.telemetry())
            took = time.monotonic() - asked
            if args.json:
                (print_line if args.watch else print_json)(value)
            else:
                if args.watch and sys.stdout.isatty():
                    print("\x1b[H\x1b[2J", end="")
                _show(shown(value), whole=args.all)
                sys.stdout.flush()
            if not args.watch:
                return 0
            time.sleep(max(EVERY, REST * took))  # many jobs must not fill the broker's time


def _latest(client: Client) -> dict[str, Any]:
    """The broker's description with all jobs that are not over, and the last ones that have ended."""
    value = client.describe(most=PAGE)
    jobs = value["jobs"]
    while value["next"] and jobs[-1]["state"] in LIVE:
        value = client.describe(most=PAGE, after=value["next"])
        jobs += value["jobs"]
    return {**value, "jobs": sorted(jobs, key=lambda job: job["number"])}


def _show(value: dict[str, Any], *, whole: bool) -> None:
    jobs = value["jobs"]
    if value["trouble"]:
        print(paint(f"the broker waits: {value['trouble']}", "31"))
    if value["open"]:
        print(paint(OPEN, "33"))
    for client in value["clients"]:
        if client["refused"]:
            print(paint(no_room(client), "33"))
    for pipeline in value["pipelines"]:
        print(pipeline_line(pipeline))
        for stage, codes in pipeline["codes"].items():
            print(paint(f"  workers of {stage} have different code, the newest last: {codes}", "33"))
        there = dict(zip(pipeline["stages"], pipeline["workers"], strict=True))
        for stage, problem in pipeline["problems"].items():
            if there.get(stage):
                print(paint(f"  another worker of {stage} does not run: {problem}", "33"))
            else:
                print(paint(f"  {stage} does not start: {problem}", "31"))
    if not jobs:
        print("no jobs; 'zturbo submit PIPELINE CONTENT' runs one")
        return
    ended = [job for job in jobs if job["state"] in ENDED]
    hidden = {job["id"] for job in ended[:-SHOWN]} if not whole else set()
    shown = [job for job in jobs if job["id"] not in hidden]
    heads = ("JOB", "NAME", "PIPELINE", "STATE", "AGE", "TOOK", "MEMORY", "STORED", "RESULTS", "FAILED", "")
    rows = [heads]
    rows += [
        (
            short(job["id"]),
            fit(title_of(job), 30),
            job["pipeline"],
            job["state"],
            *times(job, value["clock"]),
            *sizes(job)[1:],
            str(job["results"]),
            str(job["failed"]),
            _note(job),
        )
        for job in shown
    ]
    print()
    table(rows, state=3)
    for job in shown:
        if job["state"] in LIVE | {"failed"}:
            for text in job["incidents"][-3:]:
                print(f"{short(job['id'])}  {one_line(text)}")
    if hidden:
        over = sum(count for state, count in value["totals"].items() if state in ENDED)
        over -= sum(job["over"] if job["state"] in LIVE else job["carries"] or 1 for job in shown)
        print(f"and {over} that have ended before; --all shows them")


def pipeline_line(pipeline: dict[str, Any]) -> str:
    """A pipeline's stages with their workers, and the memory of these, as a line."""
    counted = zip(pipeline["stages"], pipeline["workers"], strict=True)
    stages = [paint(f"{name} x{n}", "" if n else "31") for name, n in counted]
    memory = f"; {shown_bytes(sum(pipeline['memory']))} of memory" if any(pipeline["memory"]) else ""
    return f"pipeline {paint(pipeline['name'], '1')}: " + ", ".join(stages) + memory


def with_memory(pipelines: list[dict[str, Any]], telemetry: dict[str, Any]) -> list[dict[str, Any]]:
    """The pipelines, each with ``memory``: bytes that the workers of each stage take, all jobs together.

    Args:
        pipelines: as :meth:`zturbo.Client.describe` gives them.
        telemetry: as :meth:`zturbo.Client.telemetry` gives it.
    """
    flows = {flow.name: flow for flow in by_pipeline(telemetry)}
    out = []
    for pipeline in pipelines:
        flow = flows.get(pipeline["name"])
        memory = {stage.name: stage.memory for stage in flow.stages} if flow is not None else {}
        out.append({**pipeline, "memory": [memory.get(name, 0) for name in pipeline["stages"]]})
    return out


def no_room(client: dict[str, Any]) -> str:
    """What a client uses that the broker had no room for, as a line."""
    who, jobs, size = client["client"][:32], client["jobs"], client["nbytes"] / 1e6
    text = f"client {who}: {jobs} jobs with {size:.1f} MB are not finished"
    limits = "limits are client_jobs, client_bytes and memory of [broker]"
    return f"{text}; {client['refused']} times the broker had no room for one ({limits})"


def times(job: dict[str, Any], clock: float) -> tuple[str, str]:
    """(time since a job's submit, time from its submit to its end), by the broker's clock; - if not known."""
    created, ended = job["created"], job["ended"]
    age = span_text(clock - created) if created and clock else "-"
    return age, span_text(ended - created) if created and ended else "-"


def sizes(job: dict[str, Any]) -> tuple[str, str, str]:
    """(bytes of a job's root tasks, about its bytes in the broker's memory, and about those of its results at
    the sink); - once it has ended."""
    if job["state"] in ENDED:
        return "-", "-", "-"
    return shown_bytes(job["input_bytes"]), shown_bytes(job["memory"]), shown_bytes(job["stored"])


def span_text(seconds: float) -> str:
    """A span of time in few letters: ``0.4s``, ``12s``, ``3m05s``, ``2h04m``, ``5d``."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m" if whole < 86400 else f"{whole // 86400}d"


def _note(job: dict[str, Any]) -> str:
    """The last column: how far a job's stages are, what it waits for, or the error that ended it."""
    if job["state"] in ENDED:
        return one_line(job["error"] or "")
    stages = [
        f"{counts['stage']} {counts['done']}" + (f"+{counts['running']}" if counts["running"] else "")
        for counts in job["counts"]
    ]
    parts = [" > ".join(stages)] if job["state"] == "running" else []
    if job["waiting"]:
        parts.append(f"waits for {job['waiting']}")
    return ", ".join(parts)
