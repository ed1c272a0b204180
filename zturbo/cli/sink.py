"""``zturbo sink``: runs a sink alone."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from zturbo.cli.run import add_common, foreground, load
from zturbo.cli.settings import add_settings
from zturbo.deploy.children import sink_child

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "sink",
        help="run a sink alone",
        description="Runs a sink of a network file: it puts results in order and keeps them for clients.",
        epilog="examples:\n  zturbo sink video.toml\n"
        "  zturbo sink video.toml --broker tcp://10.0.0.1:5555 --address 10.0.0.2 --insecure --number 1",
    )
    add_common(parser)
    parser.add_argument(
        "--number",
        type=_number,
        default=os.environ.get("ZTURBO_NUMBER") or 0,
        help="tells sinks of one host apart; default: $ZTURBO_NUMBER, else 0",
    )
    add_settings(parser, sink=True)
    parser.set_defaults(run=run)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected a number, 0 or more, found {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    network = load(args)
    child = sink_child(network, args.number, address=args.listening, debug=args.verbose)
    return foreground(
        network,
        [child],
        say=lambda line: print(line, file=sys.stderr),
        as_json=args.json,
        ready_file=args.ready_file,
    )
