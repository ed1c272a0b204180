"""``zturbo stage``: workers of one stage."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from zturbo.cli.run import add_common, foreground, load
from zturbo.deploy import worker_children

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "stage",
        help="run workers of one stage",
        description="Runs workers of one stage of a network file, on this host. They join the broker "
        "that the file names, take their share, and may come and go while jobs run.",
    )
    add_common(parser)
    parser.add_argument("stage", metavar="PIPELINE.STAGE", help="which stage, such as video.detect")
    parser.add_argument("--workers", type=int, metavar="N", help="how many (default: as the file says)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    network = load(args)
    children = worker_children(network, args.stage, args.workers, address=args.address, debug=args.debug)
    return foreground(network, children, say=lambda line: print(line, file=sys.stderr))
