"""``zturbo job``: prints all that the broker knows of one job."""

from __future__ import annotations

import argparse
import textwrap
from datetime import datetime
from typing import Any

from zturbo.cli.ask import add_broker, add_job, connect, find_job, task_map
from zturbo.cli.jobs import sizes, times
from zturbo.cli.printed import STATES, one_line, paint, print_json, table
from zturbo.client.client import Client
from zturbo.client.job_ids import short
from zturbo.errortext import path_text, shown
from zturbo.jobstates import LIVE, title_of
from zturbo.telemetry.bottleneck import bottleneck, per_second, shown_time
from zturbo.telemetry.flow import PipelineFlow, by_host, by_pipeline

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo job 3f2a91c04b1e
  zturbo job clip --failures          also its failed tasks, each with its remote traceback
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "job",
        help="show one job in detail",
        description="Shows how far each stage of a job is, what the job waits for, and which workers died. "
        "Of a job that runs it shows what limits its pipeline, too, and for each stage how many of its "
        "workers are busy, tasks a second, the time of a task (median, and the one that 99 % do not exceed), "
        "and what the time of its workers goes to: the stage's code, waiting for input, being held back by "
        "what follows, zturbo's own work. These are of all jobs of the pipeline.",
        epilog=EPILOG,
    )
    add_job(parser)
    parser.add_argument(
        "--failures",
        action="store_true",
        help="show its failed tasks, too, once it has ended. This reads the job's results, so another client "
        "that reads them stops, and 'zturbo result' then needs --from-start",
    )
    add_broker(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with connect(args) as client:
        job = find_job(client, args.job)
        failures = _failures(client, job) if args.failures else None
        flow, limit = _flow(client, job)
    if args.json:
        now = {} if flow is None else {"bottleneck": limit, "stages": [one.as_map() for one in flow.stages]}
        print_json({**job, **now} if failures is None else {**job, **now, "failures": failures})
        return 0
    job, failures = shown(job), shown(failures)
    table(_facts(job), head=False)
    if job["counts"]:
        print()
        table(_stages(job["counts"], flow))
    if limit:
        print(f"\n{one_line(limit)}")
    if job["incidents"]:
        print(f"\n{paint('INCIDENTS', '1')}")
        for text in job["incidents"]:
            print(one_line(text))
    for failure in failures or ():
        place = path_text(failure.get("path", ()))
        print(f"\n{paint('FAILED TASK', '1')}  {place}  {one_line(failure['error'])}")
        if failure["traceback"]:
            print(textwrap.indent(failure["traceback"].rstrip(), "  "))
    _say_next(job, failures)
    return 0


def _flow(client: Client, job: dict[str, Any]) -> tuple[PipelineFlow | None, str]:
    """What the pipeline of a job that is not over does now, and what limits it."""
    if job["state"] not in LIVE:
        return None, ""
    telemetry = client.telemetry()
    flow = next((one for one in by_pipeline(telemetry) if one.name == job["pipeline"]), None)
    return flow, "" if flow is None else bottleneck(
        flow, by_host(telemetry), _problems(client, flow.name)
    ).text


def _problems(client: Client, name: str) -> dict[str, str]:
    """Stage of a pipeline -> why its workers do not start."""
    return next((one["problems"] for one in client.pipelines() if one["name"] == name), {})


def _stages(counts: list[dict[str, Any]], flow: PipelineFlow | None) -> list[tuple[str, ...]]:
    """A row for each stage: what there is of the job, and what the stage does."""
    heads, names = (
        ("STAGE", "QUEUED", "RUNNING", "DONE", "FAILED"),
        ("stage", "queued", "running", "done", "failed"),
    )
    rows = [heads, *(tuple(str(count[name]) for name in names) for count in counts)]
    if flow is None or len(flow.stages) != len(counts):
        return rows
    rows[0] += ("BUSY", "IDLE", "START", "WANT", "RATE", "P50", "P99", "CODE/IN/HELD/OWN")
    for number, stage in enumerate(flow.stages, 1):
        workers = stage.busy, len(stage.workers) - stage.busy, stage.starting, stage.wanted
        times = (shown_time(stage.quantile(share)) for share in (0.5, 0.99))
        shares = "/".join(str(round(100 * share)) for share in stage.shares)
        rows[number] += (*map(str, workers), per_second(stage.rate), *times, f"{shares} %")
    return rows


def _facts(job: dict[str, Any]) -> list[tuple[str, str]]:
    state = paint(job["state"], STATES.get(job["state"], ""))
    facts = [
        ("job", job["id"]),
        ("name", one_line(title_of(job))),
        ("pipeline", one_line(job["pipeline"])),
        ("created", f"{datetime.fromtimestamp(job['created']):%Y-%m-%d %H:%M:%S}" if job["created"] else "-"),
        ("took", times(job, 0.0)[1]),
        ("state", state + (f", waits for {job['waiting']}" if job["waiting"] else "")),
        ("epoch", f"{job['epoch']}" + (", started over" if job["epoch"] > 1 else "")),
        ("root tasks", _roots(job)),
        ("results", str(job["results"])),
        ("failed tasks", str(job["failed"])),
    ]
    if job["state"] in LIVE:
        size, memory, stored = sizes(job)
        facts += [("input", f"{size} of root tasks"), ("memory", f"about {memory} of the broker's")]
        facts.append(("stored", f"about {stored} of results at the sink"))
    if job["options"]:
        facts.append(("options", ", ".join(f"{name} = {value}" for name, value in job["options"].items())))
    if job["error"]:
        facts.append(("error", job["error"].replace("\n", "\n    ")))
    return facts


def _roots(job: dict[str, Any]) -> str:
    if job["carrier"]:
        return f"1 of {job['fed']} that travel together, as a job each: the stages' counts are of all"
    return f"{job['fed']}" if job["total"] is not None else f"{job['fed']} so far"


def _failures(client: Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The job's failed tasks; none while it runs, or if it ended without results."""
    if job["state"] != "done" or not job["failed"]:
        return []
    handle = client.attach(job["id"], from_start=True)
    return [task_map(task) for task in handle.tasks(60) if not task.success]


def _say_next(job: dict[str, Any], failures: list[dict[str, Any]] | None) -> None:
    name = short(job["id"])
    lines = []
    if job["state"] == "done":
        lines.append(f"its results: zturbo result {name} --from-start")
        if job["failed"] and failures is None:
            lines.append(f"its failures: zturbo job {name} --failures")
        if job["failed"]:
            lines.append(f"to run them again: zturbo retry {name} --failed")
            lines.append(f"to run one here, in a debugger: zturbo replay {name} PATH --pdb")
    elif job["state"] in LIVE:
        lines.append(f"its results, as they come: zturbo result {name}")
    if lines:
        print("\n" + "\n".join(lines))
