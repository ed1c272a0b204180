"""``zturbo result``: the results of a job that was submitted before."""

from __future__ import annotations

import argparse
from typing import Any

from zturbo.cli.ask import add_broker, add_job, connect, fail, find_job, print_line, seconds, task_map
from zturbo.client.client import JobHandle

__all__ = ["TASKS", "add", "print_results", "run"]

TASKS = (
    "each line tells of a task: content, meta, success; a failed one has its input for its content, and "
    "error, stage, host, traceback"
)
"""Help of ``--json`` of what prints results."""

EPILOG = """\
examples:
  zturbo result 3f2a91c04b1e                 from the cursor on
  zturbo result clip --from-start --json     all of them, with meta, failures in their places
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "result",
        help="print a job's results",
        description="Prints a job's results, one JSON value a line, in order, as they come. It begins at the "
        "job's cursor: what the last reader had taken before it last asked for more is left out. Failed "
        "tasks are told on stderr, and make the exit code 1. Ctrl-C leaves; the job goes on. Whoever reads a "
        "job's results takes them over from whoever read them before.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_job(parser)
    parser.add_argument("--from-start", action="store_true", help="all of them, whoever has read some before")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds to wait for all of them")
    add_broker(parser, as_json=TASKS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with connect(args) as client:
        job = find_job(client, args.job)
        handle = client.attach(job["id"], from_start=args.from_start)
        return print_results(handle, args.timeout, whole=args.json)


def print_results(handle: JobHandle, timeout: float | None, *, whole: bool = False) -> int:
    """Print them; returns the exit code.

    Args:
        handle: of the job.
        timeout: seconds to wait for all of them; None for no limit.
        whole: each line tells of a task: its content and meta, or its failure.
    """
    printed = failed = 0
    for task in handle.tasks(timeout):
        printed += 1
        failed += not task.success
        if whole:
            print_line(task_map(task))
        elif task.success:
            print_line(task.content)
        if not task.success:
            fail(f"failed task: {task.error}")
    if not printed and (had := handle.status()["results"]):
        fail(f"its {had} results have been read before: --from-start prints them again")
    return 1 if failed else 0
