"""``zturbo submit``: run a job."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from zturbo.client import Client
from zturbo.errors import UsageError
from zturbo.task import Job, Task

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "submit",
        help="submit a job and print its results",
        description="Submits a job with one root task and prints its results, one JSON value a line, in "
        "order, as they come. Failed tasks are told on stderr, and make the exit code 1.",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("content", metavar="CONTENT", help="content of the root task, a string")
    parser.add_argument("--json", action="store_true", help="CONTENT is JSON")
    parser.add_argument("--name", default="submit", help="name of the job")
    parser.add_argument("--detach", action="store_true", help="print the job's id and leave")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds to wait for all results")
    parser.add_argument("--broker", metavar="ADDRESS", help="default: $ZTURBO_BROKER")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    content: Any = args.content
    if args.json:
        try:
            content = json.loads(args.content)
        except ValueError as error:
            raise UsageError(f"CONTENT is no JSON: {error}") from None
    with Client(args.broker) as client:
        handle = client.submit(Job(args.name, Task(content)), pipeline=args.pipeline)
        if args.detach:
            print(handle.id.hex())
            return 0
        failed = 0
        try:
            for task in handle.tasks(args.timeout):
                if task.success:
                    print(json.dumps(task.content, default=str), flush=True)
                else:
                    failed += 1
                    print(f"zturbo: failed task: {task.error}", file=sys.stderr)
        except KeyboardInterrupt:
            handle.cancel()
            print("zturbo: the job was cancelled", file=sys.stderr)
            raise
        return 1 if failed else 0
