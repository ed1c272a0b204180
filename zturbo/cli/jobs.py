"""``zturbo jobs``: what the broker has."""

from __future__ import annotations

import argparse
import json
from typing import Any

from zturbo.client import Client

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "jobs",
        help="list jobs and stages",
        description="Lists the broker's jobs, how far they are or what they wait for, and the workers of "
        "each stage.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--broker", metavar="ADDRESS", help="default: $ZTURBO_BROKER")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with Client(args.broker) as client:
        value = client.describe()
    jobs, pipelines = value["jobs"], value["pipelines"]
    if args.json:
        print(json.dumps(value, default=_plain, indent=2))
        return 0
    if value["trouble"]:
        print(f"the broker waits: {value['trouble']}")
    for pipeline in pipelines:
        stages = zip(pipeline["stages"], pipeline["workers"], strict=True)
        print(f"pipeline {pipeline['name']}: " + ", ".join(f"{name} x{n}" for name, n in stages))
        for stage, problem in pipeline["problems"].items():
            print(f"  {stage} does not start: {problem}")
    rows = [("JOB", "NAME", "PIPELINE", "STATE", "RESULTS", "FAILED", "")]
    rows += [
        (
            job["id"].hex()[:12],
            job["name"],
            job["pipeline"],
            job["state"],
            str(job["results"]),
            str(job["failed"]),
            f"waits for {job['waiting']}" if job["waiting"] else job["error"] or "",
        )
        for job in jobs
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    for row in rows if jobs else []:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[6]]).rstrip())
    for job in jobs:
        if job["state"] in ("waiting", "running", "failed"):
            for text in job["incidents"][-3:]:
                print(f"{job['id'].hex()[:12]}  {text}")
    if not jobs:
        print("no jobs")
    return 0


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)
