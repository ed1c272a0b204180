"""``zturbo cancel``: end jobs now."""

from __future__ import annotations

import argparse
from typing import Any

from zturbo.cli.ask import add_broker, connect, find_job
from zturbo.cli.printed import one_line, print_json
from zturbo.client.job_ids import short
from zturbo.errortext import shown_text

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "cancel",
        help="end jobs now",
        description="Ends jobs. Their queued tasks end at once, and running tasks after half a second. The "
        "exit code is 1 if one of the jobs had ended before.",
        epilog="examples:\n  zturbo cancel 3f2a91c04b1e\n  zturbo cancel clip-1 clip-2",
    )
    parser.add_argument(
        "jobs", metavar="JOB", nargs="+", help="ids, or their first digits if these are unique, or names"
    )
    add_broker(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    states: dict[str, str] = {}
    with connect(args) as client:
        for job in [find_job(client, name) for name in args.jobs]:
            done = client.attach(job["id"]).cancel()
            state = states[job["id"]] = "cancelled" if done else client.jobs(job["id"])[0]["state"]
            if not args.json:
                name = one_line(shown_text(job["name"]))
                print(f"{short(job['id'])} {name}: {state if done else f'had ended before, {state}'}")
    if args.json:
        print_json(states)
    return 0 if all(state == "cancelled" for state in states.values()) else 1
