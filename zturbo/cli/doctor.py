"""``zturbo doctor``: looks for faults of this host, and of its ways to the others."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Any

from zturbo.checks import is_address
from zturbo.cli.ask import add_broker
from zturbo.cli.health import checks
from zturbo.cli.printed import one_line, paint, print_json
from zturbo.cli.run import add_file, network_file
from zturbo.client.client import DEFAULT_BROKER
from zturbo.errors import UsageError
from zturbo.errortext import shown_text
from zturbo.runtime.net.localkeys import find_local

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo doctor video.toml                              on any host, before or after a start
  zturbo doctor --broker tcp://10.0.0.1:5555 --json
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="look for faults of this host, and of its ways to the others",
        description="Looks, on any host, before and after a start: whether names are known, the broker "
        "answers, the ports of processes on other hosts are open from here, and those of processes here from "
        "other hosts, whose nodes it asks; at the limit of open files, "
        "disks, shared memory, Python, packages and versions. It tells the clock, which no decision depends "
        "on; and, with a file, whether the stages' code here is the code with which their workers run. It "
        "prints a line for each look, and for a fault what to do; then the exit code is 1. It starts no "
        "worker.",
        epilog=EPILOG,
    )
    add_file(parser, optional=True)
    parser.add_argument(
        "--address", metavar="HOST", help="address at which other hosts are to reach this one"
    )
    parser.add_argument("--state", metavar="FOLDER", help="default: $ZTURBO_STATE, else the one in the file")
    add_broker(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    network = network_file(args.file) if args.file else None
    state = args.state or os.environ.get("ZTURBO_STATE")
    if network is not None and state:
        network = replace(network, broker=replace(network.broker, state=os.path.abspath(state)))
    broker = args.broker or os.environ.get("ZTURBO_BROKER")
    broker = broker or (network.broker.bind if network is not None else DEFAULT_BROKER)
    if not is_address(broker):
        raise UsageError(f"--broker: expected an address, tcp://HOST:PORT or ipc://PATH, found {broker!r}")
    address = (args.address or os.environ.get("ZTURBO_ADDRESS") or "").strip("[]") or None
    found = []
    named = None if network is None else network.keys
    keys = args.keys or os.environ.get("ZTURBO_KEYS") or named or find_local(broker)
    for check in checks(network, broker, address, keys):
        found.append(check)
        if not args.json:
            mark = paint("ok   ", "32") if check.good else paint("FAULT", "31")
            text = one_line(shown_text(check.text))
            print(f"{mark}  {check.name}: {text}{'' if check.good else f'; {check.advice}'}", flush=True)
    faults = sum(not check.good for check in found)
    if args.json:
        rows = [
            {"check": c.name, "good": c.good, "text": c.text, "advice": "" if c.good else c.advice}
            for c in found
        ]
        print_json({"broker": broker, "faults": faults, "checks": rows})
    return 1 if faults else 0
