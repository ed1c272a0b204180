"""``zturbo up``: runs all of a network file on this host."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import threading
from typing import Any

from zturbo.cli.listen import check_ports
from zturbo.cli.run import add_common, foreground, load, refuse_second
from zturbo.cli.settings import add_settings
from zturbo.dashboard import DEFAULT_BIND
from zturbo.deploy.children import broker_child, sink_child, worker_children
from zturbo.deploy.network import Network
from zturbo.errors import ZturboError
from zturbo.errortext import shown_text
from zturbo.hardware.allot import Allotment
from zturbo.runtime.net.localkeys import announced
from zturbo.runtime.node.node import Node
from zturbo.terminal.progress import Progress

__all__ = ["add", "run"]

log = logging.getLogger("zturbo.cli")

PAGE_END = 5.0
"""Seconds that the page's process has to end."""

EPILOG = """\
examples:
  zturbo up video.toml
  zturbo up myproject.system:MySystem               stages of a zturbo.System class
  zturbo up video.toml --without video.detect       to debug that stage in another terminal
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "up",
        help="run all of a network file on this host, in the foreground",
        description="Starts the broker, a sink and all workers of a network file on this host. Starts "
        "processes again when they die. Shows progress per job and stage. Ctrl-C stops everything.",
        epilog=EPILOG,
    )
    add_common(parser, binds=True)
    parser.add_argument(
        "--without",
        metavar="PIPELINE.STAGE",
        action="append",
        default=[],
        help="start no workers of this stage: start them yourself, with 'zturbo stage --debug' for instance. "
        "May be repeated",
    )
    parser.add_argument(
        "--dashboard",
        metavar="HOST:PORT",
        nargs="?",
        const=DEFAULT_BIND,
        help=f"serve a page for the browser too, as 'zturbo dashboard' does; default address: {DEFAULT_BIND}",
    )
    parser.add_argument("--no-progress", action="store_true", help="show no progress bars")
    add_settings(parser, broker=True, sink=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    network = load(args)
    check_ports(network, None if args.listening is None else args.listening.ports)
    refuse_second(network)
    options = {"address": args.listening, "debug": args.verbose}
    children = [broker_child(network, **options), sink_child(network, **options)]
    for name in args.without:
        network.find(name)
    allotment = Allotment()
    for pipeline in network.pipelines:
        for stage in pipeline.stages:
            name = f"{pipeline.name}.{stage.name}"
            if name not in args.without:
                children += worker_children(network, name, allotment=allotment, **options)
    progress = Progress(show=not args.no_progress)

    def beside(node: Node) -> None:
        threading.Thread(target=_watch, args=(node, network, progress), daemon=True).start()

    page = None if args.dashboard is None else _page(network, args.dashboard, progress.output)
    progress.say(f"zturbo: {shown_text(args.file)} at {network.broker.bind}; Ctrl-C stops it")
    try:
        with announced(network.broker.bind, network.keys):
            return foreground(
                network,
                children,
                say=progress.say,
                as_json=args.json,
                ready_file=args.ready_file,
                beside=beside,
                output=progress.output,
                forking=args.forking,
            )
    finally:
        if page is not None:
            _end(page)
        progress.close()
        sys.stderr.flush()


def _page(network: Network, bind: str, output: int | None) -> subprocess.Popen[bytes]:
    """A process of its own for the page, so that it can neither slow nor end the others."""
    # "-c", not "-m": a module of the working directory must not be imported in place of one of Python's.
    code = "import sys; sys.path.remove(''); from zturbo.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "dashboard", "--broker", network.broker.bind, "--bind", bind]
    if network.keys is not None:
        command += ["--keys", str(network.keys)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _end(page: subprocess.Popen[bytes]) -> None:
    page.terminate()
    try:
        page.wait(PAGE_END)
    except subprocess.TimeoutExpired:
        page.kill()
        page.wait()


def _watch(node: Node, network: Network, progress: Progress) -> None:
    """Ask the broker for its jobs and show their progress, as long as the node runs."""
    from zturbo.client.client import Client  # here: it takes long to import, and the children start meanwhile

    stop = threading.Event()
    while not node.stopping:
        try:
            with Client(network.broker.bind, timeout=5, keys=network.keys) as client:
                progress.follow(client.describe, lambda: not node.stopping)
        except ZturboError:
            stop.wait(0.5)
        except Exception as error:  # without a display, the work goes on all the same
            log.debug("progress is not shown any more: %s", error)
            return
