"""Shared by ``up``, ``broker``, ``sink`` and ``stage``: options, and a node in the foreground."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from zturbo.checks import is_address, is_loopback
from zturbo.cli.fromsystem import is_system_name, network_of
from zturbo.cli.listen import add_listen, listening_of
from zturbo.cli.printed import print_line
from zturbo.cli.settings import overridden
from zturbo.deploy.network import Network
from zturbo.errors import AccessDenied, StartError, UsageError, ZturboError
from zturbo.errortext import shown_text
from zturbo.exitcodes import UNFIT_CODE
from zturbo.runtime.net.findings import LOOK, Examiner, is_resolved
from zturbo.runtime.net.host import address_towards, bracketed, host_name, listens
from zturbo.runtime.net.keys import BROKER, allowed, read_keys
from zturbo.runtime.net.limits import check_children, raise_descriptor_limit
from zturbo.runtime.net.localkeys import find_local, make_local, to_make, unmake, wants_local
from zturbo.runtime.net.sockets import check_bind
from zturbo.runtime.node.children import Child, ChildSpec
from zturbo.runtime.node.forking import Forking, start_forking
from zturbo.runtime.node.node import Node
from zturbo.runtime.node.readiness import Readiness

__all__ = [
    "OPEN",
    "add_common",
    "add_file",
    "add_listening",
    "check_keys",
    "env_flag",
    "foreground",
    "load",
    "load_here",
    "network_file",
    "refuse_second",
]

OPEN = (
    "zturbo: --insecure: whoever reaches the ports of these processes can run jobs, read results and send "
    "forged ones; 'zturbo keys init FOLDER' and --keys FOLDER keep them out"
)


def add_file(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the argument that names a network file."""
    file = parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?" if optional else None,
        help="the network file (TOML), or module:SystemClass",
    )
    file.complete = {"bash": "_shtab_compgen_files", "zsh": "_files"}  # type: ignore[attr-defined]


def add_common(parser: argparse.ArgumentParser, *, binds: bool = False) -> None:
    """Add the arguments of every command that runs processes.

    Args:
        parser: of the command.
        binds: whether the command runs the broker itself.
    """
    add_file(parser)
    if binds:
        parser.add_argument(
            "--bind",
            metavar="ADDRESS",
            help="the broker's address; default: $ZTURBO_BIND, else the one in the file",
        )
    else:
        parser.add_argument(
            "--broker",
            metavar="ADDRESS",
            help="the broker's address; default: $ZTURBO_BROKER, else the one in the file",
        )
    add_listening(parser)
    add_listen(parser, binds=binds)


def add_listening(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where processes listen, and what is printed."""
    parser.add_argument(
        "--address",
        metavar="HOST",
        help="address at which other hosts reach this one; default: $ZTURBO_ADDRESS, else with keys "
        "or --insecure this host's address towards the broker. Without one, only this host reaches its "
        "processes. Of several, with commas between them, each of the others uses the first that answers",
    )
    parser.add_argument(
        "--state",
        metavar="FOLDER",
        help="folder of the ledger, the spools and the workers' logs; default: $ZTURBO_STATE, else the one "
        "in the file",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="without keys, bind to an address that other hosts can reach: whoever reaches it can run code "
        "here; default: $ZTURBO_INSECURE, 1 or 0",
    )
    parser.add_argument(
        "--keys",
        metavar="PATH",
        help="folder of keys, as 'zturbo keys init' makes it, or the file of one key; default: $ZTURBO_KEYS, "
        "else 'keys' in the file, else none",
    )
    parser.add_argument(
        "--ready-file",
        metavar="PATH",
        help="file that is there while all processes of this command have joined the broker, for probes; "
        "default: $ZTURBO_READY_FILE",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="log more; default: $ZTURBO_VERBOSE, 1 or 0"
    )
    parser.add_argument("--json", action="store_true", help="print events on stdout, a JSON map a line")


def network_file(name: str) -> Network:
    """The network of a file, or of a System class ``module:SystemClass``.

    Raises:
        UsageError: the file has a mistake, or the class cannot be used.
        StartError: the module of the class cannot be imported.
    """
    return network_of(name) if is_system_name(name) else Network.load(name)


def load_here(args: argparse.Namespace) -> Network:
    """Load the network file of a command. Flags and environment override its settings, not its broker's
    address.

    Raises:
        UsageError: the file or an override has a mistake.
    """
    network = network_file(args.file)
    args.address = args.address or _env("ADDRESS")
    args.insecure = args.insecure or env_flag("INSECURE")
    args.ready_file = args.ready_file or _env("READY_FILE")
    args.verbose = args.verbose or env_flag("VERBOSE")
    if args.verbose:
        logging.getLogger().setLevel(logging.DEBUG)
    return overridden(args, network)


def load(args: argparse.Namespace) -> Network:
    """Load the network file of a command; flags and environment override its values.

    ``args.undo`` is to be called if the command ends by an error: it removes keys that were made here.

    Raises:
        UsageError: the file or an override has a mistake, or an address is open to other hosts without
            ``--insecure``.
    """
    network = load_here(args)
    binds = hasattr(args, "bind")
    address = (args.bind or _env("BIND")) if binds else (args.broker or _env("BROKER"))
    broker = network.broker
    if address:
        address = bracketed(address)
        if not is_address(address):
            where = "--bind or $ZTURBO_BIND" if binds else "--broker or $ZTURBO_BROKER"
            raise UsageError(
                f"{where}: expected an address, tcp://HOST:PORT or ipc://PATH, found {address!r}"
            )
        broker = replace(broker, bind=address)
    network = replace(network, broker=broker)
    if network.keys is not None:
        args.insecure = False
    open_too = args.insecure or network.keys is not None
    network, made = _with_local_keys(network, open_anyway=args.insecure)  # which are for this host alone
    args.undo = partial(unmake, made, network.broker.bind)
    if network.keys is not None:
        check_keys(network.keys, binds=binds)
    if binds or not address:
        check_bind(network.broker.bind, insecure=open_too)

    def own() -> str | None:
        if not open_too or is_loopback(network.broker.bind):
            return None
        found = _own_address(network.broker.bind, wait=not binds)
        if found is None and network.broker.bind.startswith("tcp:"):
            text = f"{network.broker.bind} does not tell by which address others reach this host"
            print(f"zturbo: {text}, so they cannot: --address does", file=sys.stderr)
        return found

    args.listening = listening_of(args, network, own, insecure=open_too)
    return network


def _with_local_keys(network: Network, *, open_anyway: bool) -> tuple[Network, list[Path]]:
    """The network with keys of its own, if it is on loopback without keys, and others work on this host; and
    the folders that were made for them.

    Raises:
        UsageError: the keys cannot be made.
    """
    choice = network.broker.local_keys
    if network.broker.keys is not None or open_anyway or not wants_local(network.broker.bind, choice):
        return network, []
    made: list[Path] = []
    folder = find_local(network.broker.bind)
    if folder is None:
        made = to_make(network.state)
        folder = str(make_local(network.state))
    return replace(network, broker=replace(network.broker, keys=folder)), made


def check_keys(path: str, *, binds: bool) -> None:
    """Raise UsageError if a command has not the keys that it needs, before it starts anything."""
    if binds:
        read_keys(path, (BROKER,))
        allowed(Path(path))
    read_keys(path, ("node",))


def _own_address(broker: str, *, wait: bool) -> str | None:
    """This host's address on its way to the broker, if others can reach the broker.

    Args:
        broker: its address.
        wait: wait until its name is known here, and say so meanwhile.
    """
    found: list[str | None] = []

    def look() -> None:
        while wait and not is_resolved(broker):
            time.sleep(0.5)
        found.append(address_towards(broker))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    examiner = Examiner(broker, "broker")
    while not found:
        if seen := examiner.news(time.monotonic(), answers=False):
            print(f"zturbo: no broker answers at {broker} yet: {seen}", file=sys.stderr)
        thread.join(LOOK)
    return found[0]


def _env(name: str) -> str | None:
    return os.environ.get(f"ZTURBO_{name}") or None


def env_flag(name: str) -> bool:
    """Whether the variable ``ZTURBO_name`` says yes; raises UsageError if it says neither yes nor no."""
    value = (_env(name) or "0").lower()
    if value not in ("0", "1", "no", "yes", "false", "true"):
        raise UsageError(f"$ZTURBO_{name}: expected 1 or 0, found {value!r}")
    return value in ("1", "yes", "true")


class Teller:
    """Prints events: as lines for people, or as JSON for programs.

    Args:
        say: prints a line.
        as_json: whether to print JSON on stdout instead.
    """

    def __init__(self, say: Callable[[str], None], *, as_json: bool) -> None:
        self._say = say
        self._json = as_json

    def __call__(self, event: str, line: str, **fields: Any) -> None:
        """Print one event."""
        if self._json:
            print_line({"event": event, **fields})
        else:
            self._say(shown_text(line))


def refuse_second(network: Network) -> None:
    """Raise StartError if a process listens at the address of a broker that is about to start."""
    address = network.broker.bind
    if not listens(address):
        return
    from zturbo.client.client import Client  # here: it takes long to import, and there is a broker seldom

    try:
        Client(address, timeout=2, keys=network.keys).close()
    except AccessDenied:
        pass  # a broker with other keys, or without keys
    except ZturboError:
        raise StartError(
            f"{address} is in use by another program, or by a broker that does not answer: stop it, or "
            "name another address with --bind"
        ) from None
    raise StartError(
        f"a broker is already running at {address}: 'zturbo jobs --broker {address}' shows what it does; "
        "stop it, or name another address with --bind, and another folder with --state"
    )


def foreground(
    network: Network,
    children: list[ChildSpec],
    *,
    say: Callable[[str], None],
    as_json: bool = False,
    beside: Callable[[Node], None] | None = None,
    output: int | None = None,
    ready_file: str | None = None,
    forking: Forking | None = None,
) -> int:
    """Run child processes until Ctrl-C or SIGTERM; a second one kills them.

    Args:
        network: the network file.
        children: specs of the children.
        say: prints a line.
        as_json: whether to print events as JSON on stdout.
        beside: called with the node once the broker is ready, or at once if there is none among the children.
        output: descriptor for the children's stdout and stderr; None for this process's own.
        ready_file: path of the file for probes.
        forking: forks the children, and is closed; None to start such a server if there are several children.

    Returns:
        The exit code.

    Raises:
        StartError: the broker or a sink did not start at all, another broker is running already, or this
            process may not have enough open files for its children.
    """
    raise_descriptor_limit()
    check_children(len(children))
    if network.is_open:
        print(OPEN, file=sys.stderr)
    failed: list[str] = []
    unfit: list[str] = []
    ran: set[str] = set()
    shows = [beside] if beside is not None else []
    code = 0
    tell = Teller(say, as_json=as_json)
    readiness = Readiness(len(children), ready_file, os.environ.get("NOTIFY_SOCKET"))

    def on_event(kind: str, child: Child, text: str) -> None:
        readiness.event(kind, child)
        name = child.what.name
        who = {"name": name, "pid": child.pid}
        if kind == "ready":
            ran.add(name)
            if child.what.role == "broker" and shows:
                shows.pop()(node)
            tell(kind, f"{name} runs (process {child.pid})", **who)
        elif kind == "joined":
            tell(kind, f"{name} (process {child.pid}) has joined the broker at {network.broker.bind}", **who)
        elif kind == "failed" and not node.stopping:  # else a signal has come to all, also to this child
            line = f"{name} does not start: {text}"
            if child.traceback and child.what.role == "worker":
                line += "\n" + child.traceback.rstrip()
            tell(kind, line, **who, error=text, traceback=child.traceback)
            if child.what.role in ("broker", "sink") and name not in ran:
                failed.append(text)
                node.stop()
        elif kind == "unfit":
            tell(
                kind, f"{name} (process {child.pid}) exited: {text}; it is not started again", **who, how=text
            )
            unfit.append(name)
            if node.over:
                node.stop()
        elif kind == "exited" and not node.stopping:
            line = f"{name} (process {child.pid}) exited: {text}; it is started again"
            tell(kind, line, **who, how=text)

    asked: list[int] = []
    nodes: list[Node] = []
    errors: list[BaseException] = []

    def stop(number: int, frame: object) -> None:
        nonlocal code
        code = 130 if number == signal.SIGINT else 0
        if not asked:
            print("\nstopping; once more to stop at once", file=sys.stderr)
        asked.append(number)
        for node in nodes:
            node.stop()

    def work() -> None:
        # Children inherit the blocked SIGINT, so that Ctrl-C does not end one before it has set its handler.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            node.run()
        except BaseException as error:  # the main thread raises it
            errors.append(error)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if forking is None and len(children) > 1:
        forking = start_forking(list(dict.fromkeys(child.module for child in children)))
    try:
        node = Node(
            network.broker.bind,
            host=host_name(),
            lease=network.broker.lease,
            on_event=on_event,
            broker_first=any(child.role == "broker" for child in children),
            output=output,
            security=None if network.keys is None else read_keys(network.keys, ("node",)),
            forking=forking,
        )
        nodes.append(node)
        try:
            for child in children:
                node.add(child)
            if shows and not any(child.role == "broker" for child in children):
                shows.pop()(node)
            if asked:
                node.stop()
            thread = threading.Thread(target=work, name="node")
            thread.start()
            thread.join()
        finally:
            readiness.stopping()
            node.stop()
            node.run()
            node.close()
            nodes.clear()
    finally:
        if forking is not None:
            forking.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    if errors:
        raise errors[0]
    if failed:
        raise StartError(failed[0])
    return UNFIT_CODE if unfit and not asked else code
