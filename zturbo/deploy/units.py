"""The units of a network: commands that its hosts run apart from each other. What to start, and what to stop.

A host of ``zturbo deploy`` runs one command for each stage that it has, and the first one the broker and a
sink too. So a stage can be started anew, or get more workers, while the rest stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zturbo.checks import is_loopback
from zturbo.deploy.network import HostSpec, Network
from zturbo.deploy.slurm import share
from zturbo.errors import NetworkFileError, StartError
from zturbo.runtime.net.host import tcp_address

__all__ = [
    "ADDRESS",
    "Plan",
    "Running",
    "Unit",
    "bind_of",
    "parse_running",
    "reached_at",
    "resolved_words",
    "restarted",
    "scaled",
    "shares",
    "units_of",
    "upped",
]

CODES = {
    "job": "jobs that run keep the code with which they began, and wait when no worker has it any more: "
    "'code = \"any\"' or '\"restart\"' of the pipeline says otherwise",
    "same": "workers with other code are refused while old ones run, as the pipeline has 'code = \"same\"': "
    "'down' and 'up' instead",
}
"""``code`` of a pipeline -> what to know before its workers get new code."""

ADDRESS = "@address"
"""Stands for the host's address in words of a unit: the host itself knows what its name leads to."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A command that a host runs."""

    name: str
    """``broker``, ``sink`` or the stage."""
    words: tuple[str, ...]
    """The command, without ``--workers``. ``@file``, ``@keys`` and :data:`ADDRESS` stand for what its host
    knows."""
    workers: int = 0
    """Number of workers; 0 for broker and sink."""


@dataclass(frozen=True, slots=True)
class Running:
    """A unit that was started on a host."""

    id: str
    """Names it among all that were started there."""
    unit: str
    workers: int
    version: str
    """Version of its code."""
    state: str
    """``joined``, ``starts`` or ``ended``."""


def parse_running(value: Any) -> list[Running]:
    """What a host says that it runs.

    Raises:
        StartError: it is something else.
    """
    texts = ("id", "unit", "version", "state")
    try:
        found = [Running(**one) for one in value]
    except TypeError:
        found = [Running("", "", -1, "", "")]
    if not all(type(getattr(one, name)) is str for one in found for name in texts) or not all(
        type(one.workers) is int and one.workers >= 0 for one in found
    ):
        raise StartError("does not say what runs there: is its Python the right one?")
    return found


@dataclass(frozen=True, slots=True)
class Plan:
    """What one host does."""

    start: tuple[Unit, ...] = ()
    stop: tuple[str, ...] = ()
    """Ids of those that drain after the others have joined."""
    told: tuple[str, ...] = ()
    version: str | None = None
    """Version of the code with which to start; None for the newest."""


# -- what the file says ---------------------------------------------------------------------------
def bind_of(network: Network) -> str:
    """The address of the broker, as its host is to bind it. :data:`ADDRESS` may stand in it.

    Raises:
        NetworkFileError: only one host could reach it, and there are several.
    """
    bind, first = network.broker.bind, network.hosts[0]
    if len(network.hosts) == 1 or (bind.startswith("tcp:") and not is_loopback(bind)):
        return bind
    if not bind.startswith("tcp:") or first.address is None:
        raise NetworkFileError(
            network.path,
            f"host.{first.name}.address",
            f"is missing: it has the broker, and others do not reach {bind}. Name an address of this host",
        )
    return f"tcp://{ADDRESS}:{bind.rpartition(':')[2]}"


def reached_at(network: Network) -> str:
    """The address of the broker, as others name it; raises NetworkFileError as :func:`bind_of`."""
    bind, address = bind_of(network), network.hosts[0].address
    return tcp_address(address or "", bind.rpartition(":")[2]) if ADDRESS in bind else bind


def shares(network: Network) -> dict[str, dict[str, int]]:
    """Host -> stage -> number of workers.

    Raises:
        NetworkFileError: no host runs a stage.
    """
    hosts = network.hosts
    if not any(host.stages or host.workers for host in hosts):
        return {host.name: dict(share(network, i, len(hosts))) for i, host in enumerate(hosts)}
    own = {f"{p.name}.{stage.name}": stage.workers for p in network.pipelines for stage in p.stages}
    found = {host.name: {**{name: own[name] for name in host.stages}, **host.workers} for host in hosts}
    for name in own:
        if not any(part.get(name) for part in found.values()):
            raise NetworkFileError(
                network.path, "host", f"no host runs {name}: name it in 'stages' or 'workers' of one"
            )
    return {host: {name: n for name, n in part.items() if n} for host, part in found.items()}


def units_of(network: Network, host: HostSpec, *, keys: bool, insecure: bool) -> dict[str, Unit]:
    """Unit -> its command, of all that the host may run: each stage with no workers yet.

    Args:
        network: the file.
        host: one of its hosts.
        keys: whether there are keys.
        insecure: whether there are none, although other hosts reach the network.
    """
    common = ["--keys", "@keys"] if keys else ["--insecure"] if insecure else []
    if host.address is not None:
        common += ["--address", ADDRESS]
    if host.ports is not None:
        common += ["--ports", host.ports]
    found = {}
    bind = reached_at(network)
    if host is network.hosts[0]:
        bind = bind_of(network)
        found["broker"] = Unit("broker", ("broker", "@file", "--bind", bind, *common))
        found["sink"] = Unit("sink", ("sink", "@file", "--broker", bind, *common))
    for pipeline in network.pipelines:
        for stage in pipeline.stages:
            name = f"{pipeline.name}.{stage.name}"
            found[name] = Unit(name, ("stage", "@file", name, "--broker", bind, *common))
    return found


# -- what to do -----------------------------------------------------------------------------------
def upped(
    units: Mapping[str, Unit], share: Mapping[str, int], running: Sequence[Running], version: str
) -> Plan:
    """Start what does not run yet, and stop what the file has no more."""
    wanted = [unit for name, unit in units.items() if name not in share and not _is_stage(name)]
    wanted += [replace(units[name], workers=workers) for name, workers in share.items()]
    start, told = [], []
    for unit in wanted:
        living = [one for one in running if one.unit == unit.name and one.state != "ended"]
        if not living:
            start.append(unit)
            continue
        others = {one.version for one in living} - {version}
        more = f" with other code: 'restart {unit.name}' takes this" if others and unit.workers else ""
        told.append(f"{unit.name} runs already{more}")
    gone = [one for one in running if one.unit not in units]
    told += [f"{one.unit} is stopped: the file has it no more" for one in gone if one.state != "ended"]
    stop = [one.id for one in running if one in gone or one.state == "ended"]
    return Plan(tuple(start), tuple(stop), tuple(told))


def restarted(unit: Unit, running: Sequence[Running], version: str, code: str) -> Plan:
    """Start as many workers of a stage as there are, with the newest code, and stop those.

    Args:
        unit: of the stage.
        running: what runs on the host.
        version: the newest one of the code.
        code: of the pipeline, which says what becomes of running jobs.
    """
    old = [one for one in running if one.unit == unit.name]
    workers = sum(one.workers for one in old)
    told = [CODES[code]] if code in CODES and any(one.version != version for one in old) else []
    start = (replace(unit, workers=workers),) if workers else ()
    return Plan(start, tuple(one.id for one in old), tuple(told))


def scaled(unit: Unit, running: Sequence[Running], workers: int) -> Plan:
    """Give a stage this number of workers, with the code that it has, and disturb as few as can be."""
    old = [one for one in running if one.unit == unit.name]
    stop = [one.id for one in old if one.state == "ended"]
    living = [one for one in old if one.state != "ended"]
    have = sum(one.workers for one in living)
    for one in reversed(living):
        if have <= workers:
            break
        have -= one.workers
        stop.append(one.id)
    start = (replace(unit, workers=workers - have),) if workers > have else ()
    return Plan(start, tuple(stop), version=living[-1].version if living else None)


def _is_stage(name: str) -> bool:
    return name not in ("broker", "sink")


def resolved_words(words: Sequence[str], places: Mapping[str, str], address: str) -> list[str]:
    """The words of a unit on its host.

    Args:
        words: of the unit.
        places: what stands for a whole word, and its path.
        address: of the host.
    """
    bound = tcp_address(address, "")
    found = [places.get(word, word) for word in words]
    return [address if word == ADDRESS else word.replace(f"tcp://{ADDRESS}:", bound, 1) for word in found]
