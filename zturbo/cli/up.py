"""``zturbo up``: all of a network file on this host."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Any

from zturbo.allot import Allotment
from zturbo.cli.run import add_common, foreground, load
from zturbo.client import Client
from zturbo.deploy import broker_child, sink_child, worker_children
from zturbo.errors import ZturboError
from zturbo.progress import Progress
from zturbo.runtime.node import Node

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "up",
        help="run all of a network file on this host, in the foreground",
        description="Starts the broker, a sink and all workers of a network file on this host, starts again "
        "what dies, and shows progress per job and stage. Ctrl-C stops everything.",
    )
    add_common(parser)
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    network = load(args)
    options = {"address": args.address, "debug": args.debug}
    children = [broker_child(network, **options), sink_child(network, **options)]
    allotment = Allotment()
    for pipeline in network.pipelines:
        for stage in pipeline.stages:
            name = f"{pipeline.name}.{stage.name}"
            children += worker_children(network, name, allotment=allotment, **options)
    progress = Progress(show=not args.no_progress)

    def beside(node: Node) -> None:
        threading.Thread(target=_watch, args=(node, network.broker.bind, progress), daemon=True).start()

    progress.say(f"zturbo: {args.file} at {network.broker.bind}; Ctrl-C stops it")
    try:
        return foreground(network, children, say=progress.say, beside=beside)
    finally:
        progress.close()
        sys.stderr.flush()


def _watch(node: Node, broker: str, progress: Progress) -> None:
    """Ask the broker what goes on, and show it, as long as the node runs."""
    stop = threading.Event()
    while not node.stopping:
        try:
            with Client(broker, timeout=5) as client:
                while not node.stopping:
                    progress.update(client.jobs())
                    stop.wait(0.25)
        except ZturboError:
            stop.wait(0.5)
