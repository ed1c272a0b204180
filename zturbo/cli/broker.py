"""``zturbo broker``: runs the broker of a network file alone."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from zturbo.cli.run import add_common, foreground, load, refuse_second
from zturbo.cli.settings import add_settings
from zturbo.deploy.children import broker_child
from zturbo.runtime.net.localkeys import announced

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "broker",
        help="run the broker alone",
        description="Runs the broker of a network file. Start sinks and stages beside it, here or on "
        "other hosts, with 'zturbo sink' and 'zturbo stage' and the same file.",
        epilog="examples:\n  zturbo broker video.toml\n"
        "  zturbo broker video.toml --bind tcp://10.0.0.1:5555 --address 10.0.0.1 --insecure",
    )
    add_common(parser, binds=True)
    add_settings(parser, broker=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    network = load(args)
    refuse_second(network)
    child = broker_child(network, address=args.listening, debug=args.verbose)
    with announced(network.broker.bind, network.keys):
        return foreground(
            network,
            [child],
            say=lambda line: print(line, file=sys.stderr),
            as_json=args.json,
            ready_file=args.ready_file,
        )
