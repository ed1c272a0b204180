"""``zturbo logs``: prints the broker's log."""

from __future__ import annotations

import argparse
import threading
from datetime import datetime
from typing import Any

from zturbo.checks import did_you_mean
from zturbo.cli.ask import add_broker, connect, find_job
from zturbo.cli.printed import one_line, paint, print_line
from zturbo.client.client import LEVELS, Client, levels_from
from zturbo.client.job_ids import short
from zturbo.errors import UsageError
from zturbo.errortext import shown_text

__all__ = ["add", "run"]

COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31"}

EPILOG = """\
examples:
  zturbo logs
  zturbo logs video.detect --follow
  zturbo logs clip --json
  zturbo logs clip --level warning
"""

EVERY = 0.5
"""Seconds between two questions, with --follow."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "logs",
        help="print what happened, and what stages print and log",
        description="Prints the broker's log: jobs that begin and end, processes that die, and what stages "
        "print and log on all hosts, from INFO up, with the job and the path of the task that ran. A job's "
        "lines are there as long as the broker keeps the job, up to 1 MiB; of all others it remembers some "
        "thousands. Each worker's output is also in a file, in the folder 'logs' of its state folder.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "what",
        metavar="JOB|STAGE",
        nargs="?",
        help="only lines of this job, of this stage (PIPELINE.STAGE), or of 'broker' or 'sink-0'",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="also print new lines as they come, until Ctrl-C"
    )
    parser.add_argument(
        "--level",
        default="debug",
        choices=[level.lower() for level in LEVELS],
        help="the lowest level that is shown; default: all that is there, which is from INFO up",
    )
    add_broker(parser, as_json="print a JSON map a line, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    levels = levels_from(args.level.upper())
    with connect(args) as client:
        job, source = _filter(client, args.what)
        after = 0
        pause = threading.Event()
        while True:
            some, after, more = client.log_page(after, job=job, source=source)
            some = [line for line in some if line["level"] in levels]
            _show(client.with_traces(some) if args.json else some, as_json=args.json)
            if more:
                continue
            if not args.follow:
                return 0
            pause.wait(EVERY)


def _filter(client: Client, what: str | None) -> tuple[str | None, str]:
    """(job, source) of the lines to print; the name of a stage wins over that of a job.

    Raises:
        UsageError: no job and no stage has that name.
    """
    if what is None:
        return None, ""
    names = [f"{p['name']}.{stage}" for p in client.pipelines() for stage in p["stages"]]
    if what in (*names, "broker", "sink") or what.startswith("sink-"):
        return None, what
    try:
        return find_job(client, what)["id"], ""
    except UsageError as error:
        if "." not in what:
            raise
        raise UsageError(f"{error}; and no stage of that name: {did_you_mean(what, names)}") from None


def _show(entries: list[dict[str, Any]], *, as_json: bool) -> None:
    for entry in entries:
        if as_json:
            print_line(entry)
            continue
        at = datetime.fromtimestamp(entry["at"])
        path = " " + ".".join(map(str, entry["path"])) if entry["path"] else ""
        of = f" [{short(entry['job'])}{path}]" if entry["job"] else ""
        at_host = f" on {one_line(shown_text(entry['host']))}:{entry['pid']}" if entry["pid"] else ""
        level = paint(f"{entry['level']:<7}", COLOURS.get(entry["level"], ""))
        source = one_line(shown_text(entry["source"]))
        text = shown_text(entry["text"]).replace(
            "\n", "\n    "
        )  # so that no further line looks like an entry
        print(f"{at:%m-%d %H:%M:%S} {level} {source}{at_host}{of}: {text}", flush=True)
