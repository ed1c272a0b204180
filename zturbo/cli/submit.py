"""``zturbo submit``: runs a job."""

from __future__ import annotations

import argparse
import contextlib
import json
from typing import Any

from zturbo.api.task import Job, Task
from zturbo.checks import did_you_mean
from zturbo.cli.ask import add_broker, connect, seconds
from zturbo.cli.printed import fail, print_json
from zturbo.cli.result import TASKS, print_results
from zturbo.errors import UnknownPipeline, UsageError

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo submit video bikes.mp4
  zturbo submit toy '[1, 10]' --content-json
  zturbo submit toy '[1, 10]' --content-json --name ten --detach; zturbo result ten
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "submit",
        help="submit a job and print its results",
        description="Submits a job with one root task and prints its results, one JSON value a line, in "
        "order, as soon as they come. Failed tasks are printed on stderr, and make the exit code 1. Ctrl-C "
        "cancels the job.",
        epilog=EPILOG,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="its name; 'zturbo jobs' lists them")
    parser.add_argument("content", metavar="CONTENT", help="content of the root task, a string")
    parser.add_argument("--content-json", action="store_true", help="CONTENT is JSON")
    parser.add_argument("--name", default="submit", help="name of the job (default: submit)")
    parser.add_argument("--priority", type=int, metavar="N", help="jobs of a higher priority go first")
    parser.add_argument(
        "--durability", choices=("fsync", "process", "memory"), help="default: the pipeline's"
    )
    parser.add_argument("--fail-fast", action="store_true", help="the first failed task ends the job")
    parser.add_argument("--detach", action="store_true", help="print the job's id and leave")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds to wait for all results")
    add_broker(parser, as_json=TASKS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    content: Any = args.content
    if args.content_json:
        try:
            content = json.loads(args.content)
        except ValueError as error:
            raise UsageError(f"CONTENT is not valid JSON: {error}") from None
    options = {
        "priority": args.priority,
        "durability": args.durability,
        "fail_fast": args.fail_fast or None,
    }
    options = {name: value for name, value in options.items() if value is not None}
    with connect(args) as client:
        if args.pipeline not in (known := client.info["pipelines"]):
            raise UnknownPipeline(f"no pipeline {args.pipeline!r} here; {did_you_mean(args.pipeline, known)}")
        job = Job(args.name, Task(content))
        try:
            handle = client.submit(job, pipeline=args.pipeline, **options)
            if args.detach:
                if args.json:
                    print_json({"job": handle.id})
                else:
                    print(handle.id)
                return 0
            return print_results(handle, args.timeout, whole=args.json)
        except KeyboardInterrupt:  # perhaps before the broker has answered
            with contextlib.suppress(UsageError):  # the broker may not even have got the job
                client.attach(job.id).cancel()
            fail("the job was cancelled")
            raise
