"""The checks of ``zturbo doctor``: what this host needs, and what it sees of the others.

A check changes nothing, and needs no broker. Where one answers, it tells which other processes there are, and
these are looked at too.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from zturbo.checks import is_loopback
from zturbo.cli.listen import ports_of
from zturbo.client.client import Client
from zturbo.client.looks import look
from zturbo.deploy.network import Network
from zturbo.errors import AccessDenied, BrokerUnavailable, StartError, UsageError, ZturboError
from zturbo.runtime.code.codeof import code_of
from zturbo.runtime.disk.folders import runtime_dir, state_problem
from zturbo.runtime.net.binds import bind_problem, free_port, own_addresses
from zturbo.runtime.net.findings import examine, is_resolved
from zturbo.runtime.net.host import address_towards, host_name, tcp_address, with_zone, zone_of
from zturbo.slotted import slotted
from zturbo.telemetry.seen import Reached, read_reached
from zturbo.version import __version__
from zturbo.wire.control import answers, to_broker

__all__ = ["Check", "checks"]

ROOM_STATE, ROOM_TEMPORARY, ROOM_SHARED = 1 << 30, 100 << 20, 256 << 20
"""Bytes that are to be free where ledger and spools are, where sockets are, and in shared memory."""

DESCRIPTORS = 1024
"""Open files that a process may have at least, for a small network."""

PER_WORKER = 4
"""Descriptors of the broker for each worker, about."""

OLDEST = (3, 10)

PACKAGES = ("pyzmq", "msgpack", "psutil", "rich")

ANY = ("*", "0.0.0.0", "::")
"""Hosts in an address to bind that stand for all addresses."""

ASKED = 16
"""Other hosts that are asked what they see of this one, at most; and processes of this one."""

ANSWER = 3.0
"""Seconds that a broker has to answer."""


@slotted(frozen=True)
class Check:
    """What one check has found."""

    name: str
    good: bool
    text: str
    advice: str = ""
    """What to do about a fault."""


def checks(
    network: Network | None, broker: str, address: str | None, keys: str | None = None
) -> Iterator[Check]:
    """All checks, one after the other.

    Args:
        network: the network file, if one is named.
        broker: the broker's address.
        address: at which other hosts reach this one; None for its address towards the broker.
        keys: a file or a folder of keys, with which to ask the broker; None for ``$ZTURBO_KEYS``, else none.
    """
    yield from _python()
    yield from _limits(network)
    yield from _folders(network)
    yield from _address(broker, address)
    members: answers.Members | None = None
    for check, found in _broker(_near(broker), keys):
        yield check
        members = found or members
    yield from _clock(members)
    if network is not None and not _has_processes(members):
        yield from _own_ports(network, broker, address)
    if members is not None:
        yield from _versions(members)
        yield from _ports(members, zone_of(broker))
        yield from _ways_back(members, broker, keys)
        if network is not None:
            yield from _codes(network, members)


# -- this host ------------------------------------------------------------------------------------
def _python() -> Iterator[Check]:
    text = f"Python {platform.python_version()}, zturbo {__version__}"
    yield Check("python", sys.version_info >= OLDEST, text, "install Python 3.10 or later")
    for name in PACKAGES:
        try:
            yield Check("package", True, f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Check("package", False, f"{name} is not installed", f"pip install {name}")


def _limits(network: Network | None) -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    workers = sum(stage.workers for one in network.pipelines for stage in one.stages) if network else 0
    need = max(DESCRIPTORS, PER_WORKER * workers + 256)
    may = 1 << 62 if hard == resource.RLIM_INFINITY else hard
    shown = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
    advice = f"raise it to {need} or more: 'ulimit -Hn', LimitNOFILE of systemd, or /etc/security/limits.conf"
    yield Check("limit", may >= need, f"a process may have {shown} open files (now {soft})", advice)


def _folders(network: Network | None) -> Iterator[Check]:
    try:
        folder = runtime_dir("zturbo-doctor-")
    except StartError as error:
        yield Check("sockets", False, str(error), "make such a folder")
    else:
        folder.rmdir()
        yield _room(
            "sockets", folder.parent, ROOM_TEMPORARY, "free some space there, or let TMPDIR name another"
        )
    yield _room(
        "shared memory", Path("/dev/shm"), ROOM_SHARED, "mount /dev/shm, in a container by --shm-size=1g"
    )
    if network is not None:
        problem = state_problem(network.state)
        if problem:
            yield Check("state", False, problem, "name a folder of this user's, in the file or by --state")
        else:
            there = next(folder for folder in (network.state, *network.state.parents) if folder.exists())
            yield _room(
                "state", there, ROOM_STATE, "free some space there: ledger and spools grow with the jobs"
            )


def _room(name: str, folder: Path, least: int, advice: str) -> Check:
    """Whether a folder can be written, and its disk has room."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check(name, False, f"{folder}: {error.strerror}", advice)
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check(name, False, f"{folder} cannot be written", advice)
    return Check(name, free >= least, f"{folder} has {free / 1e9:.1f} GB free", advice)


def _address(broker: str, address: str | None) -> Iterator[Check]:
    """The address at which others reach this host."""
    if not broker.startswith("tcp:") or (is_loopback(broker) and address is None):
        yield Check("address", True, f"{broker} is for this host alone")
        return
    own = address or address_towards(broker)
    if own is None:
        if broker == _near(broker) and not is_resolved(broker):
            return  # the broker's check says so
        have = ", ".join(own_addresses())
        text = f"{broker} does not tell by which of its addresses others reach this host: {have}"
        yield Check("address", True, f"{text}. Name one with --address")
        return
    problem = bind_problem(tcp_address(own, 0))  # at any port
    text = problem or f"others reach this host at {own}, if keys, --insecure or --address are given"
    yield Check("address", not problem, text, "name one of this host's own addresses with --address")


def _has_processes(members: answers.Members | None) -> bool:
    """Whether processes of the network run on this host already."""
    return members is not None and any(process.host == host_name() for process in members.processes)


def _own_ports(network: Network, broker: str, address: str | None) -> Iterator[Check]:
    """Whether one of the ports that the file names is free here, before anything runs."""
    ports = ports_of(network)
    own = (address or address_towards(broker) or "127.0.0.1").partition(",")[0]
    if ports is None or bind_problem(tcp_address(own, 0)):
        return
    try:
        text = f"port {free_port(own, ports)} of {own} is free, of those that the file names"
    except UsageError:
        text = f"all ports of {own} from {ports[0]} to {ports[1]} are in use"
        yield Check("ports", False, text, "end the programs that have them, or name others in 'ports'")
    else:
        yield Check("ports", True, text)


# -- the others -----------------------------------------------------------------------------------
def _broker(broker: str, keys: str | None) -> Iterator[tuple[Check, answers.Members | None]]:
    """What there is at the broker's address; if a broker answers, the processes that it knows."""
    if not is_resolved(broker):
        host = urlsplit(broker).hostname
        advice = "add the name to /etc/hosts or the name server, or use an IP address"
        yield Check("name", False, f"this host does not know the name {host}", advice), None
        return
    there, seen = examine(broker)
    if not there:
        own = _is_own(broker)
        advice = "start the broker's host, open the port in its firewall, or name another address"
        if own or "refuses the connection" in seen or broker.startswith("ipc:"):
            problem = bind_problem(broker) if own and broker.startswith("tcp:") else ""
            text = problem or f"no broker runs yet: {seen}"
            yield Check("broker", not problem, text, "name an address of this host"), None
        else:
            yield Check("broker", False, seen, advice), None
        return
    try:
        with Client(broker, timeout=ANSWER, keys=keys) as client:
            members = client.connection.ask(to_broker.Members())
            problems = {
                f"{pipeline['name']}.{stage}": text
                for pipeline in client.pipelines()
                for stage, text in pipeline["problems"].items()
            }
    except ZturboError as error:
        text = f"{seen}, but no broker answers there" if type(error) is BrokerUnavailable else str(error)
        advice = "stop the other program at this address, or name the broker's own"
        if isinstance(error, AccessDenied):
            advice = "a key for this host or its user is made where the broker runs: 'zturbo keys --help'"
        yield Check("broker", False, text, advice), None
        return
    yield Check("broker", True, f"a broker answers at {broker}"), members
    for name, text in problems.items():
        yield Check("stage", False, f"{name}: {text}", "see 'zturbo logs' and the stage's own terminal"), None


def _near(broker: str) -> str:
    """The broker's address, by loopback if the broker is to listen at all addresses of its host."""
    parts = urlsplit(broker)
    return tcp_address("127.0.0.1", parts.port or 0) if parts.hostname in ANY else broker


def _is_own(broker: str) -> bool:
    """Whether the broker's address is of this host."""
    host = urlsplit(broker).hostname if broker.startswith("tcp:") else ""
    return is_loopback(broker) or host in own_addresses()


def _clock(members: answers.Members | None) -> Iterator[Check]:
    now = time.time()
    text = f"it is {datetime.fromtimestamp(now).astimezone().isoformat(timespec='seconds')} here"
    if members is not None and members.clock:
        ahead = now - members.clock
        text += f", {abs(ahead):.1f} s {'after' if ahead > 0 else 'before'} the broker's clock"
    yield Check("clock", True, f"{text}. No decision depends on clocks, only the times in logs")


def _versions(members: answers.Members) -> Iterator[Check]:
    for process in members.processes:
        if process.version and process.version != __version__:
            text = f"{process.name} on {process.host} is zturbo {process.version}, and here is {__version__}"
            yield Check("version", False, text, "install the same version on all hosts")
    others = sorted({p.python for p in members.processes} - {"", platform.python_version()})
    if others:
        yield Check("version", True, f"other hosts have Python {', '.join(others)}")


def _codes(network: Network, members: answers.Members) -> Iterator[Check]:
    """Whether the stages here have the code with which workers of them run."""
    for pipeline in network.pipelines:
        for stage in pipeline.stages:
            name = f"{pipeline.name}.{stage.name}"
            hosts: dict[str, set[str]] = {}
            for process in members.processes:
                if process.name == name and process.code:
                    hosts.setdefault(process.code, set()).add(process.host)
            if not hosts or stage.stage is not None:
                continue
            try:
                own = code_of(stage.cls)
            except StartError as error:
                yield Check("code", False, f"{name}: {error}", "install here what the stage imports")
                continue
            other = {code: sorted(there) for code, there in hosts.items() if code != own}
            good = not other or pipeline.code == "any"
            text = f"{name} has the code here with which its workers run ({own})"
            if other:
                told = "; ".join(f"on {', '.join(there)} {code}" for code, there in other.items())
                text = f"{name} has other code here ({own}) than its workers: {told}"
            yield Check(
                "code",
                good,
                text,
                "copy the same files to all hosts, then start the workers anew that have old ones",
            )


def _ports(members: answers.Members, zone: str) -> Iterator[Check]:
    """Connect to each process of another host; at link-local addresses by the card ``zone``."""
    here = host_name()
    far = [process for process in members.processes if process.host != here]
    mine = [process for process in members.processes if process.host == here]
    for process in far:
        who = f"{process.name} on {process.host}"
        ends = _far_ends(process)
        if not any(ends):
            advice = "start it with --insecure, or with --address"
            yield Check("port", False, f"{who} can be reached from its own host alone", advice)
        for ways in ends:
            found = [examine(with_zone(end, zone)) for end in ways]
            yield from _ways(who, found, "open this port for this host, or start that process anew")
    for process in mine:
        if far and all(is_loopback(end) for end in process.addresses if end.startswith("tcp:")):
            text = f"{process.name} (process {process.pid}) can be reached from this host alone"
            yield Check("port", False, text, "start it with --insecure, or with --address")


def _far_ends(process: answers.Process) -> list[tuple[str, ...]]:
    """The addresses at which other hosts reach each of a process's sockets."""
    ends = (process.addresses, process.results)
    return [
        tuple(dict.fromkeys(end for end in ways if end.startswith("tcp:") and not is_loopback(end)))
        for ways in ends
    ]


def _ways(who: str, found: Sequence[tuple[bool, str]], advice: str) -> Iterator[Check]:
    """What is seen at all addresses of one socket, of which one that answers is enough."""
    reached = any(there for there, _ in found)
    for there, seen in found:
        note = "" if there or not reached else "; another address of it answers, and is used"
        yield Check("port", reached, f"{who}: {seen}{note}", advice)


def _ways_back(members: answers.Members, broker: str, keys: str | None) -> Iterator[Check]:
    """Let a node of each other host connect to the processes of this one."""
    here = host_name()
    mine = [process for process in members.processes if process.host == here]
    askable = [one for one in members.processes if one.host != here and one.pid and one.name != "broker"]
    nodes = list({process.host: process for process in askable}.values())[:ASKED]
    if not nodes:
        return
    if not mine:
        text = "no process runs here yet: whether other hosts reach its ports can be seen once one does"
        yield Check("port", True, text)
        return
    try:
        with Client(broker, timeout=ANSWER, keys=keys) as client:
            for process in mine[:ASKED]:
                asked = [node.incarnation for node in nodes]
                found = look(client.connection, asked, "reach", 0, read_reached, of=process.incarnation)
                for node, seen in zip(nodes, found, strict=True):
                    yield from _way_back(process, node.host, seen)
    except ZturboError as error:
        yield Check("port", True, f"whether other hosts reach this one is not known: {error}")


def _way_back(process: answers.Process, host: str, seen: Reached | ZturboError) -> Iterator[Check]:
    """What another host sees of a process of this one."""
    who = f"{process.name} (process {process.pid})"
    if isinstance(seen, ZturboError):
        yield Check("port", True, f"whether {host} reaches {who} is not known: {seen}")
        return
    said = {end: (there, text) for end, there, text in seen.ends}
    for ways in _far_ends(process):
        advice = f"open this port of this host for {host}, or start that process with --address"
        yield from _ways(f"from {host}, {who}", [said[end] for end in ways if end in said], advice)
