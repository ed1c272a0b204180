"""What ``up``, ``broker``, ``sink`` and ``stage`` have in common: a node in the foreground."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from zturbo.deploy import host_name
from zturbo.errors import StartError
from zturbo.network import Network
from zturbo.runtime.children import Child, ChildSpec
from zturbo.runtime.node import Node
from zturbo.runtime.sockets import check_bind

__all__ = ["add_common", "foreground", "load"]


def add_common(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command that runs processes."""
    parser.add_argument("file", metavar="FILE", help="the network file (TOML)")
    parser.add_argument(
        "--address",
        metavar="HOST",
        help="address of this host that other hosts reach it by; without it, this host alone",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="bind to an address that others can reach although nothing keeps them out",
    )
    parser.add_argument("--debug", action="store_true", help="log more")


def load(args: argparse.Namespace) -> Network:
    """The network file that was named, and a check that its addresses are not open to everybody."""
    network = Network.load(args.file)
    check_bind(network.broker.bind, insecure=args.insecure)
    if args.address:
        check_bind(f"tcp://{args.address}:1", insecure=args.insecure)
    return network


def foreground(
    network: Network,
    children: list[ChildSpec],
    *,
    say: Callable[[str], None],
    beside: Callable[[Node], None] | None = None,
) -> int:
    """Run these children until Ctrl-C or SIGTERM; a second one kills them.

    Args:
        network: the network file.
        children: what to start.
        say: prints a line.
        beside: called once the node is there, to start what shows progress.

    Raises:
        StartError: the broker or a sink could not start at all.
    """
    failed: list[str] = []
    code = 0

    def on_event(kind: str, child: Child, text: str) -> None:
        name = child.what.name
        if kind == "ready":
            say(f"{name} runs (process {child.pid})")
        elif kind == "failed":
            say(f"{name} does not start: {text}")
            if child.traceback and child.what.role == "worker":
                say(child.traceback.rstrip())
            if child.what.role in ("broker", "sink"):
                failed.append(text)
                node.stop()
        elif kind == "exited" and not node.stopping:
            say(f"{name} (process {child.pid}) exited: {text}; it is started again")

    node = Node(network.broker.bind, host=host_name(), lease=network.broker.lease, on_event=on_event)
    for child in children:
        node.add(child)

    def stop(number: int, frame: object) -> None:
        nonlocal code
        code = 130 if number == signal.SIGINT else 0
        if not node.stopping:
            print("\nstopping; once more to stop at once", file=sys.stderr)
        node.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if beside is not None:
            beside(node)
        node.run()
    finally:
        node.stop()
        node.run()
        node.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed:
        raise StartError(failed[0])
    return code
