"""``zturbo stage``: runs workers of one stage."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from zturbo.cli.ask import counted
from zturbo.cli.run import add_common, foreground, load
from zturbo.cli.settings import add_settings
from zturbo.deploy.children import worker_children
from zturbo.runtime.net.keys import read_keys

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo stage video.toml video.detect --workers 8
  zturbo stage video.toml video.detect --broker tcp://10.0.0.1:5555 --address 10.0.0.7 --insecure
  zturbo stage video.toml video.detect --debug      breakpoint() in its code opens a debugger here
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "stage",
        help="run workers of one stage",
        description="Runs workers of one stage of a network file, on this host. They join the broker "
        "that the file names, and take their share of its tasks. Workers may come and go while jobs run.",
        epilog=EPILOG,
    )
    add_common(parser)
    parser.add_argument("stage", metavar="PIPELINE.STAGE", help="which stage, such as video.detect")
    parser.add_argument(
        "--workers",
        type=counted,
        metavar="N",
        default=os.environ.get("ZTURBO_WORKERS") or None,
        help="number of workers; default: $ZTURBO_WORKERS, else the number in the file",
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        help="run one worker in this process and on this terminal, so that breakpoint() and pdb work",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    network = load(args)
    if args.debug:
        from zturbo.cli.here import run_here

        (child,) = worker_children(network, args.stage, 1, address=args.listening, debug=args.verbose)
        child.spec["keys"] = None if network.keys is None else read_keys(network.keys, ("node",)).path
        return run_here(child, network.broker.bind)
    children = worker_children(network, args.stage, args.workers, address=args.listening, debug=args.verbose)
    return foreground(
        network,
        children,
        say=lambda line: print(line, file=sys.stderr),
        as_json=args.json,
        ready_file=args.ready_file,
    )
