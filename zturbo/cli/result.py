"""``zturbo result``: prints the results of a job."""

from __future__ import annotations

import argparse
from typing import Any

from zturbo.cli.ask import add_broker, add_job, connect, find_job, seconds, task_map
from zturbo.cli.printed import fail, print_line
from zturbo.client.client import JobHandle

__all__ = ["TASKS", "add", "print_results", "run"]

TASKS = (
    "print a JSON map for each task: content, meta, success. The content of a failed task is its input; it "
    "also has error, stage, host, traceback"
)
"""Help text of ``--json`` of the commands that print results."""

EPILOG = """\
examples:
  zturbo result 3f2a91c04b1e                 from the cursor on
  zturbo result clip --from-start --json     all of them, with meta, and failed tasks between them
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "result",
        help="print a job's results",
        description="Prints a job's results, one JSON value a line, in order, as soon as they come. It "
        "begins at the job's cursor: results that an earlier reader has taken are left out. Failed tasks are "
        "printed on stderr, and make the exit code 1. Ctrl-C ends the command; the job goes on. A job has "
        "one reader: if another client was reading its results, that client stops.",
        epilog=EPILOG,
    )
    add_job(parser)
    parser.add_argument(
        "--from-start", action="store_true", help="print all results, even if some were read before"
    )
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
    """Print a job's results; returns the exit code.

    Args:
        handle: of the job.
        timeout: seconds to wait for all results; None for no limit.
        whole: whether to print a map for each task, with meta or failure, and not only its content.
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
