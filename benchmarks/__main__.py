"""Runs zturbo and its peers on the same work, in turns, checks every result, and says how they compare."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.picture import draw
from benchmarks.registry import BASE, PEERS, WORKS, works
from benchmarks.report import Results
from benchmarks.run import Measurement, run
from benchmarks.work import Work

__all__ = ["main", "parser"]

PLAIN = ["W1", "W1b", "W2", "W2b", "W3", "W3b", "W4", "W4b"]
"""The works that are done if none is named."""


EPILOG = """\
works:
{works}

peers: {peers}
  zturbo has durability process and Stage classes; zturbo-… says in what it differs; system is zturbo.System.
  Peers that are no part of zturbo come with: pip install 'zturbo[bench]'

Each measurement is a process of its own, which starts the peer, warms it up, does the work and checks all
results: if they are not right, or not in order, there is no figure. All peers do a work one after another in
the same round, so ratios to {base} hold though the machine's speed changes. Absolute figures are the
machine's; the output names it, and says how much CPU others took.

examples:
  python -m benchmarks                                       zturbo and the chain, W1 to W4b: some minutes
  python -m benchmarks --work W2,W3 --repeat 5               two works, medians of five rounds
  python -m benchmarks --peers chain,zturbo,pyturbo,ray,dask,celery,parsl --minutes 60
  python -m benchmarks --work W8 --seconds 10                cost against size: a picture for each axis
  python -m benchmarks --work all --seconds 0.05 --repeat 1  does everything work?
"""


def _peers(text: str) -> list[str]:
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"no peer {name!r}; there are {', '.join(PEERS)}")
    return names


def _works(text: str) -> list[Work]:
    if text == "all":
        return list(WORKS.values())
    found: list[Work] = []
    for name in text.split(","):
        some = works(name)
        if not some:
            raise argparse.ArgumentTypeError(f"no work {name!r}; there are {', '.join(WORKS)}")
        found += [work for work in some if work not in found]
    return found


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EPILOG.format(
            works="\n".join(f"  {work.name:12} {work.title}" for work in WORKS.values()),
            peers=", ".join(PEERS),
            base=BASE,
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--peers",
        type=_peers,
        default=_peers(f"{BASE},zturbo"),
        metavar="A,B",
        help=f"default: {BASE},zturbo",
    )
    made.add_argument(
        "--work",
        type=_works,
        default=_works(",".join(PLAIN)),
        metavar="W1,W2",
        help="default: W1 to W4b; or all",
    )
    made.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds; default: %(default)s")
    made.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        metavar="S",
        help="about how long a measurement takes; default: %(default)g",
    )
    made.add_argument(
        "--minutes", type=float, metavar="M", help="no measurement begins after M minutes; default: no limit"
    )
    made.add_argument(
        "--out",
        type=Path,
        default=Path("build/benchmarks"),
        metavar="FOLDER",
        help="for table.md, results.json and the pictures; default: %(default)s",
    )
    return made


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: list[str] | None = None) -> int:
    """Run; returns the exit code: 0, or 1 if some results were wrong or a measurement failed."""
    args = parser().parse_args(words)
    end = time.monotonic() + (60 * args.minutes if args.minutes is not None else float("inf"))
    facts = {**machine(), "rounds": args.repeat, "seconds": args.seconds}
    args.out.mkdir(parents=True, exist_ok=True)
    measurements: list[Measurement] = []
    interrupted = False
    try:
        for done in run(args.work, args.peers, args.repeat, args.seconds, end, _say):
            measurements.append(done)  # not extend: what is known at Ctrl-C counts
    except KeyboardInterrupt:
        interrupted = True
        _say("stopped; what is known so far:")
    results = Results(measurements, facts)
    table = results.table()
    print(table)
    (args.out / "table.md").write_text(table + "\n")
    results.write(args.out / "results.json")
    files = [args.out / "table.md", args.out / "results.json"]
    try:
        files += draw(results, args.out)
    except ImportError as error:
        _say(f"no pictures: {error}; pip install matplotlib")
    _say(f"wrote {', '.join(map(str, files))}")
    bad = any(done.found.kind in ("wrong", "failed", "late") for done in measurements)
    return 130 if interrupted else int(bad)


if __name__ == "__main__":
    sys.exit(main())
