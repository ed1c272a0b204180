"""``zturbo retry``: runs a job's failed tasks again."""

from __future__ import annotations

import argparse
from typing import Any

from zturbo.cli.ask import add_broker, add_job, connect, find_job, seconds
from zturbo.cli.printed import print_json
from zturbo.cli.result import TASKS, print_results
from zturbo.errors import UsageError
from zturbo.jobstates import LIVE

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "retry",
        help="run a job's failed tasks again",
        description="Runs the failed tasks of a job that has ended, and no others, as a new job. Each begins "
        "at the stage where it failed, with the input that it had there. The new job's results are printed "
        "as by 'zturbo result'.",
        epilog="example:\n  zturbo retry clip --failed --detach",
    )
    add_job(parser)
    parser.add_argument("--failed", action="store_true", help="run the failed tasks again (required)")
    parser.add_argument("--detach", action="store_true", help="print the new job's id and leave")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds to wait for all results")
    add_broker(parser, as_json=TASKS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if not args.failed:
        raise UsageError(
            "say what to run again: 'zturbo retry JOB --failed' runs its failed tasks. To run the whole job "
            "again, submit it again"
        )
    with connect(args) as client:
        job = find_job(client, args.job)
        if job["state"] in LIVE:
            raise UsageError(f"job {args.job} has not ended yet: it is {job['state']}")
        if not job["failed"]:
            raise UsageError(f"job {args.job} has no failed tasks")
        handle = client.attach(job["id"], from_start=True).retry_failed()
        if args.detach:
            if args.json:
                print_json({"job": handle.id})
            else:
                print(handle.id)
            return 0
        return print_results(handle, args.timeout, whole=args.json)
