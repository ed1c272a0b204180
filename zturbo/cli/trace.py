"""``zturbo trace``: writes the last minutes of all workers as a timeline, for Perfetto."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from typing import Any

from zturbo.cli.ask import add_broker, connect, output_file
from zturbo.cli.printed import print_json
from zturbo.errortext import how_many
from zturbo.telemetry.chrome import BESIDE

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo trace -o trace.json                  the last minute of all workers
  zturbo trace clip --last 5m -o trace.json   five minutes, the code of one job alone

Open the file at https://ui.perfetto.dev (it stays in your browser) or in chrome://tracing.
"""

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)\Z")
_UNITS = {"s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def span(text: str) -> float:
    """Read a span of time from the command line: ``60s``, ``5m``."""
    found = _SPAN.match(text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"expected a span of time, such as 60s or 5m, found {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "trace",
        help="write what each worker did lately as a timeline, for Perfetto",
        description="Writes what all workers did in the last seconds, on all hosts: code, waiting for input, "
        "packing and sending, held back by what follows. Arrows follow tasks from stage to stage; deaths and "
        "restarts are marked. Each worker records this at all times and keeps some minutes. Quick tasks are "
        "recorded together, some 20 milliseconds at a time.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "job", metavar="JOB", nargs="?", help="show the code of this job alone: its id, first digits, or name"
    )
    parser.add_argument(
        "--last", type=span, default=60.0, metavar="SPAN", help="how far to go back: 60s, 5m; default 60s"
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    add_broker(parser, as_json="print what was written as JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    path = output_file(args.output)
    with connect(args) as client:
        made = client.trace(args.job, last=args.last)
    path.write_text(json.dumps(made))
    kinds = Counter(event["ph"] for event in made["traceEvents"])
    tracks = sum(event["name"] == "thread_name" and event["tid"] < BESIDE for event in made["traceEvents"])
    told = {"workers": tracks, "slices": kinds["X"], "arrows": kinds["s"], "instants": kinds["i"]}
    if args.json:
        print_json({"file": args.output, **told})
    else:
        print(f"{args.output}: {', '.join(how_many(count, what[:-1]) for what, count in told.items())}")
        print("open it at https://ui.perfetto.dev" if kinds["X"] else "no worker did anything in that time")
    return 0
