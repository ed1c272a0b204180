"""``zturbo profile``: in which calls the workers of a stage spend their time."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from zturbo.cli.ask import add_broker, connect, counted, output_file
from zturbo.cli.printed import one_line, paint, print_json, table
from zturbo.errors import UsageError
from zturbo.errortext import how_many, shown
from zturbo.telemetry.flames import flame_graph
from zturbo.telemetry.seen import Profile
from zturbo.telemetry.stacks import Frame, collapsed, of_code, speedscope

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo profile video.detect                              print the calls that take most time
  zturbo profile detect --seconds 30 -o detect.svg         a flame graph, for a browser
  zturbo profile 4711 -o worker.json                       for https://speedscope.app
  zturbo profile detect -o detect.txt                      collapsed stacks, for flamegraph.pl and others

exit code: 1 if no sample could be had
"""

SHOWN = 15
"""Lines of the table."""

Stacks = list[tuple[tuple[Frame, ...], int]]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "profile",
        help="show in which calls the workers of a stage spend their time",
        description="Looks at the Python stacks of a stage's workers, on all hosts, 50 times a second, as "
        "'zturbo stack' does once, and counts. Nothing has to be installed or restarted. Time in native code "
        "counts for the Python line that called it. A stage that waits for input shows as '(idle)'.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "what", metavar="STAGE|WORKER", help="a stage, or a worker: its process id, HOST:PID, or incarnation"
    )
    parser.add_argument(
        "--seconds", type=counted, default=10, metavar="S", help="for how long, 1 to 600; default 10"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write it: .svg is a flame graph, .json is for speedscope, .txt has collapsed stacks",
    )
    parser.add_argument("--all", action="store_true", help="count zturbo's own calls, too")
    add_broker(parser, as_json="print the stacks and their samples as JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.output is not None and Path(args.output).suffix not in (".svg", ".json", ".txt"):
        raise UsageError(f"-o {args.output}: the name is to end in .svg, .json or .txt: that says the format")
    path = None if args.output is None else output_file(args.output)
    with connect(args) as client:
        found = client.profile(args.what, args.seconds)
    stacks = _merged([profile for _, profile in found if profile is not None], whole=args.all)
    samples = sum(count for _, count in stacks)
    if path is not None:
        path.write_text(_document(path.suffix, f"{args.what}, {args.seconds} s, {samples} samples", stacks))
    notes = shown([one for one, _ in found if one["note"]])
    if args.json:
        print_json(
            {
                "samples": samples,
                "workers": len(found),
                "notes": [f"{one['name']} {one['host']}:{one['pid']}: {one['note']}" for one in notes],
                "stacks": [{"frames": [one._asdict() for one in frames], "count": n} for frames, n in stacks],
                "file": args.output,
            }
        )
        return 0 if samples else 1
    for one in notes:
        where = one_line(f"{one['name']} on {one['host']}, process {one['pid']}: {one['note']}")
        print(paint(f"no profile of {where}", "33"))
    if path is not None:
        print(
            f"{how_many(samples, 'sample')} of {how_many(len(found) - len(notes), 'worker')}: {args.output}"
        )
    else:
        _show(stacks, samples)
    return 0 if samples else 1


def _merged(profiles: list[Profile], *, whole: bool) -> Stacks:
    """The stacks of all workers together, those with most samples first."""
    sums: Counter[tuple[Frame, ...]] = Counter()
    for profile in profiles:
        for frames, count in profile.stacks:
            sums[frames if whole else of_code(frames)] += count
    return sums.most_common()


def _document(suffix: str, title: str, stacks: Stacks) -> str:
    if suffix == ".svg":
        return flame_graph(title, stacks)
    if suffix == ".txt":
        return collapsed(stacks)
    return json.dumps(speedscope(title, stacks, 0.02))


def _show(stacks: Stacks, samples: int) -> None:
    """The functions that take most time: by themselves, and with those that they call."""
    own: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for frames, count in stacks:
        if not frames:
            own["(idle, or zturbo itself)", ""] += count
            continue
        own[frames[0].function, frames[0].file] += count
        for name in {(frame.function, frame.file) for frame in frames}:
            total[name] += count
    rows = [("OWN", "WITH CALLS", "FUNCTION", "FILE")]
    rows += [
        (
            f"{count / samples:.0%}",
            f"{total[name] / samples:.0%}" if name[1] else "",
            one_line(shown(name[0])),
            one_line(shown(name[1])),
        )
        for name, count in own.most_common(SHOWN)
    ]
    table(rows)
    print(f"{samples} samples; -o FILE.svg draws a flame graph")
