"""``zturbo slurm``: runs a network file, and a program that uses it, on the nodes of a Slurm job."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from zturbo.checks import is_loopback
from zturbo.cli.ask import counted
from zturbo.cli.listen import card_addresses, ports_of
from zturbo.cli.run import add_file, add_listening, foreground, load_here
from zturbo.cli.settings import add_settings, flags
from zturbo.deploy.children import broker_child, sink_child, worker_children
from zturbo.deploy.network import Network
from zturbo.deploy.rendezvous import Rendezvous
from zturbo.deploy.slurm import Batch, Step, share
from zturbo.errors import UsageError
from zturbo.errortext import shown_text
from zturbo.exitcodes import UNFIT_CODE
from zturbo.hardware.allot import Allotment
from zturbo.runtime.net.binds import free_port, own_addresses
from zturbo.runtime.net.host import tcp_address
from zturbo.runtime.net.keys import make_folder
from zturbo.runtime.net.listening import Listening
from zturbo.runtime.net.localkeys import wants_local
from zturbo.runtime.net.sockets import check_bind
from zturbo.runtime.node.node import Node

__all__ = ["add", "run"]

LOOK = 0.5
"""Seconds between two looks for the file of the node with the broker."""
SLOW = 3.0
"""Seconds after which a node says for which file it waits."""
LEAVE_AFTER = 15.0
"""Seconds that the other nodes have to stop."""
KILL_AFTER = 5.0
"""Seconds that the program has after SIGTERM."""

EPILOG = """\
examples:
  zturbo slurm video.toml -N 4 -- track.py clip.mp4      submit a job: 4 nodes, and track.py on the first
  zturbo slurm video.toml -N 4 --print -- track.py       print the batch script instead
  salloc -N 4 zturbo slurm video.toml -- track.py        in an allocation that is there
  srun -N 2 zturbo stage video.toml video.detect --broker tcp://10.0.0.1:5555
                                                         more workers for a broker that runs somewhere

The program finds the broker in $ZTURBO_BROKER, so Client() needs no address. When it ends, all nodes stop,
and its exit code is the job's. Without a program the network runs until scancel or the limit of time. A
minute before that limit Slurm asks all nodes to stop. Jobs stay in the state folder, and go on when the
network runs again.
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "slurm",
        help="run a network file on the nodes of a Slurm job",
        description="Submits a Slurm job that runs a network file on several nodes. The first node has "
        "broker and sink, and runs PROGRAM (a .py is run by Python). The workers of the file are dealt out "
        "to all nodes. File, stages and zturbo have to be on a file system that the nodes share.",
        usage="zturbo slurm [options] FILE [-- PROGRAM [ARGUMENT ...]]",
        epilog=EPILOG,
    )
    add_file(parser)
    add_listening(parser)
    parser.add_argument(
        "-N", "--nodes", type=counted, help="number of nodes; default: the allocation's, else 1"
    )
    parser.add_argument(
        "-c",
        "--cpus",
        type=counted,
        help="CPUs of each node; default: whole nodes, which no other job shares",
    )
    parser.add_argument("-t", "--time", metavar="TIME", help="limit of time, as sbatch has it: 1:30:00")
    parser.add_argument("-p", "--partition", metavar="NAME", help="partition; default: Slurm's")
    parser.add_argument(
        "--sbatch",
        metavar="OPTION",
        action="append",
        default=[],
        help="another option of sbatch, such as --sbatch=--account=vision. May be repeated",
    )
    parser.add_argument("--wait", action="store_true", help="wait until the job has ended")
    parser.add_argument("--print", action="store_true", help="print the batch script, and submit nothing")
    parser.add_argument(
        "--per-node",
        action="store_true",
        help="each node runs the file's number of workers, not all together",
    )
    parser.add_argument(
        "--rendezvous",
        metavar="FOLDER",
        default=os.environ.get("ZTURBO_RENDEZVOUS") or None,
        help="folder that all nodes share, by which they find the broker; default: $ZTURBO_RENDEZVOUS, else "
        ".zturbo/slurm beside the file",
    )
    parser.add_argument("--step", action="store_true", help="be one node of the job; srun runs this")
    add_settings(parser, broker=True, sink=True)
    parser.takes_program = True
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.step:
        return _run_step(args)
    network = load_here(args)
    batch = _batch(args, network)
    if args.print:
        print(batch.script(), end="")
        return 0
    if "SLURM_JOB_ID" in os.environ:
        return _exec(batch.srun)
    if not shutil.which("sbatch"):
        raise UsageError(
            "there is no sbatch here: run this on a login node of a Slurm cluster, or see --print"
        )
    words = ["sbatch", "--wait"] if args.wait else ["sbatch"]
    return subprocess.run(words, input=batch.script(), text=True).returncode


def _exec(words: list[str]) -> int:
    program = shutil.which(words[0])
    if program is None:
        raise UsageError(f"$SLURM_JOB_ID is set, and there is no {words[0]} here")
    os.execv(program, words)


def _batch(args: argparse.Namespace, network: Network) -> Batch:
    given = {"--state": args.state, "--address": args.address, "--rendezvous": args.rendezvous}
    given["--keys"] = None if args.keys is None else os.path.abspath(args.keys)
    words = [word for name, value in given.items() if value for word in (name, str(value))]
    words += flags(args)
    words += [
        f"--{name}"
        for name in ("insecure", "per-node", "verbose", "json")
        if getattr(args, name.replace("-", "_"))
    ]
    step = [sys.executable, "-m", "zturbo", "slurm", args.file, "--step", *words]
    step += ["--", *args.program] if args.program else []
    nodes = args.nodes or int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    name = "zturbo-" + "-".join(pipeline.name for pipeline in network.pipelines)
    return Batch(name[:64], nodes, step, args.cpus, args.time, args.partition, args.sbatch)


# -- one node -------------------------------------------------------------------------------------
def _run_step(args: argparse.Namespace) -> int:
    step = Step.of(os.environ)
    network = load_here(args)
    folder = Path(args.rendezvous or Path(network.path).absolute().parent / ".zturbo" / "slurm")
    rendezvous = Rendezvous(folder / f"{step.run}.json", step.run)

    def say(line: str) -> None:
        print(f"[{step.rank}] {line}", file=sys.stderr, flush=True)

    return (
        _first(args, step, network, rendezvous, say)
        if step.rank == 0
        else _other(args, step, network, rendezvous, say)
    )


Say = Callable[[str], None]


def _workers(args: argparse.Namespace, step: Step, network: Network) -> list[Any]:
    allotment = Allotment()
    options = {"allotment": allotment, "address": _listening(args, network), "debug": args.verbose}
    parts = share(network, step.rank, step.size, per_node=args.per_node)
    return [child for name, count in parts for child in worker_children(network, name, count, **options)]


def _listening(args: argparse.Namespace, network: Network) -> Listening:
    return Listening((args.address or "127.0.0.1",), ports_of(network))


def _first(args: argparse.Namespace, step: Step, network: Network, rendezvous: Rendezvous, say: Say) -> int:
    """The node with broker and sink, which runs the program."""
    address = _own_address(step, network, args.address)
    args.address = None if is_loopback(tcp_address(address, 1)) else address
    bind = tcp_address(address, free_port(address, ports_of(network)))
    strangers = bool(args.address) or wants_local(bind, network.broker.local_keys)
    if strangers and network.broker.keys is None and not args.insecure:
        make_folder(rendezvous.keys)
    network = _at(network, bind, args, rendezvous)
    options = {"address": _listening(args, network), "debug": args.verbose}
    children = [
        broker_child(network, **options),
        sink_child(network, **options),
        *_workers(args, step, network),
    ]
    program = _Program(args.program, network, say)

    ending, over = threading.Lock(), threading.Event()

    def end_run() -> None:
        with ending:  # both threads come here, and the others are waited for once
            if not over.is_set():
                rendezvous.remove()
                _await_others(rendezvous, step.size, say)
                over.set()

    def run_program(node: Node) -> None:
        program.run()
        end_run()  # the others drain while the broker still runs
        if not node.stopping:  # else a signal has stopped it, and it may be closed already
            node.stop()

    def begin(node: Node) -> None:
        rendezvous.publish(network.broker.bind)
        say(f"broker at {network.broker.bind}; {step.size} nodes")
        if args.program:
            threading.Thread(target=run_program, args=(node,), daemon=True).start()

    try:
        code = foreground(
            network, children, say=say, as_json=args.json, ready_file=args.ready_file, beside=begin
        )
    finally:
        program.end()
        end_run()
        rendezvous.clear(step.size)
    return code if program.code is None else program.code


def _other(args: argparse.Namespace, step: Step, network: Network, rendezvous: Rendezvous, say: Say) -> int:
    """A node that has workers alone."""
    try:
        broker = _await(rendezvous, say)
        return 0 if broker is None else _run_workers(args, step, network, rendezvous, broker, say)
    finally:
        rendezvous.leave(step.rank)


def _run_workers(
    args: argparse.Namespace, step: Step, network: Network, rendezvous: Rendezvous, broker: str, say: Say
) -> int:
    args.address = None if is_loopback(broker) else _own_address(step, network, args.address)
    network = _at(network, broker, args, rendezvous)
    children = _workers(args, step, network)
    if not children:
        say("no workers are left for this node: the file has fewer than there are nodes; see --per-node")

    def watch(node: Node) -> None:
        pause = threading.Event()
        while not node.stopping:
            if rendezvous.broker() is None:
                say("the run has ended")
                node.stop()
            pause.wait(LOOK)

    def begin(node: Node) -> None:
        threading.Thread(target=watch, args=(node,), daemon=True).start()

    code = foreground(network, children, say=say, as_json=args.json, ready_file=args.ready_file, beside=begin)
    if code == UNFIT_CODE:  # a code that is not 0 makes srun kill the other nodes
        say("the broker refuses all processes of this node: the run goes on without it")
        return 0
    return code


def _at(network: Network, broker: str, args: argparse.Namespace, rendezvous: Rendezvous) -> Network:
    """The network with this broker, and with the run's keys if it has some."""
    keys = str(rendezvous.keys) if rendezvous.keys.is_dir() else network.broker.keys
    network = replace(network, broker=replace(network.broker, bind=broker, keys=keys))
    if args.address:
        check_bind(tcp_address(args.address, 1), insecure=args.insecure or network.keys is not None)
    return network


def _await(rendezvous: Rendezvous, say: Say) -> str | None:
    """Wait for the file of the node with the broker. None if SIGTERM or SIGINT came first."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        waited = 0.0
        while (broker := rendezvous.broker()) is None:
            if stop.wait(LOOK):
                return None
            waited += LOOK
            if waited == SLOW:
                say(f"waits for the node with rank 0, which writes {rendezvous.path}")
        return broker
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _await_others(rendezvous: Rendezvous, size: int, say: Say) -> None:
    """Wait until the other nodes have stopped: the first exit code that is not 0 makes ``srun`` kill them."""
    until = time.monotonic() + LEAVE_AFTER
    pause = threading.Event()
    while (missing := rendezvous.missing(size)) and time.monotonic() < until:
        pause.wait(LOOK)
    if missing:
        say(f"nodes that have not stopped within {LEAVE_AFTER:g} s: {', '.join(map(str, missing))}")


def _own_address(step: Step, network: Network, named: str | None) -> str:
    """An address of this node by which the others reach it: the one that is named, if this node has it, else
    one of the card that the file names.

    Raises:
        UsageError: its name leads to no address of this host, or it has no such card.
    """
    if step.size == 1:
        return "127.0.0.1"
    own = set(own_addresses())
    if named is None and network.listen.interface is not None:
        return card_addresses(network.listen.interface)[0]
    if named in own:
        return named
    names = [
        name
        for name in (step.node, socket.gethostname(), os.environ.get("SLURM_LAUNCH_NODE_IPADDR", ""))
        if name
    ]
    for name in names:
        try:
            found = [entry[4][0] for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
        except OSError:
            continue
        for address in found:
            if address in own and not is_loopback(tcp_address(str(address), 1)):
                return str(address)
    raise UsageError(
        f"none of {', '.join(names)} leads to an address of this host, which has "
        f"{', '.join(sorted(own))}: name the one by which the other nodes reach it with --address or "
        "$ZTURBO_ADDRESS"
    )


class _Program:
    """The user's program, on the node with the broker.

    Args:
        words: the program and its arguments.
        network: the program gets its broker as ``$ZTURBO_BROKER``, and its keys as ``$ZTURBO_KEYS``.
        say: prints a line.
    """

    def __init__(self, words: list[str], network: Network, say: Say) -> None:
        self._name = shown_text(words[0]) if words else ""
        self._words = [sys.executable, *words] if words and words[0].endswith(".py") else words
        self._env = {"ZTURBO_BROKER": network.broker.bind}
        if network.keys is not None:
            self._env["ZTURBO_KEYS"] = network.keys
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self.code: int | None = None
        """Its exit code, as a shell has it; None while it has not ended by itself."""

    def run(self) -> None:
        """Run it until it ends."""
        try:
            self._process = subprocess.Popen(self._words, env={**os.environ, **self._env})
            code = self._process.wait()
            self.code = code if code >= 0 else 128 - code
            self._say(f"{self._name} has ended with exit code {self.code}")
        except OSError as error:
            self.code = 127
            self._say(f"{self._name} cannot be started: {error.strerror}")

    def end(self) -> None:
        """End it if it still runs: the network that it uses is gone."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(KILL_AFTER)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
