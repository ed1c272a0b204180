"""What happens to hosts and the links between them while jobs run. Each says what it did."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from tests.lab.network import CLIENTS, FREE, SINK, WORK, LabNetwork

__all__ = ["FAULTS", "Fault"]

RATES = ("128kbit", "512kbit", "2mbit")
"""Of a slow link."""


@dataclass(frozen=True)
class Fault:
    """Something that happens.

    Args:
        does: it; gets the network, the run's random numbers, and seconds that it lasts.
        seconds: how long it may last.
        alone: nothing else happens meanwhile.
    """

    does: Callable[[LabNetwork, random.Random, float], str]
    seconds: tuple[float, ...]
    alone: bool = False


def _others(net: LabNetwork, host: str) -> list[str]:
    return [other for other in net.NAMES if other != host]


def _any(net: LabNetwork, rng: random.Random) -> str:
    """A host that has something to do."""
    return rng.choice([*WORK, *WORK, SINK, net.broker_host, CLIENTS])


def cut(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """A host is cut off from all others."""
    host = _any(net, rng)
    net.hosts.unplug(host)
    time.sleep(seconds)
    net.hosts.plug(host)
    return f"{host} was cut off"


def deaf(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """A host hears nobody, and is heard."""
    host = _any(net, rng)
    with net.cut([(other, host) for other in _others(net, host)]):
        time.sleep(seconds)
    return f"{host} heard nobody"


def mute(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """Nobody hears a host, which hears all."""
    host = _any(net, rng)
    with net.cut([(host, other) for other in _others(net, host)]):
        time.sleep(seconds)
    return f"nobody heard {host}"


def from_broker(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """A host and the broker's do not reach each other; all else do."""
    host = rng.choice([*WORK, SINK, CLIENTS])
    with net.cut([(host, net.broker_host), (net.broker_host, host)]):
        time.sleep(seconds)
    return f"{host} and the broker's host did not reach each other"


def from_stage(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """A host does not reach the hosts of one stage, nor they it."""
    pipeline, stage = rng.choice([("keep", "first"), ("keep", "second"), ("anew", "first"), ("anew", "sum")])
    of_stage = [host for host, work in WORK.items() if stage in work[pipeline]]
    host = rng.choice([other for other in (*WORK, SINK) if other not in of_stage])
    with net.cut([*product([host], of_stage), *product(of_stage, [host])]):
        time.sleep(seconds)
    return f"{host} and the hosts of {pipeline}.{stage} ({', '.join(of_stage)}) did not reach each other"


def slow(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """A host sends slowly, and its link drops what does not fit."""
    host, rate = rng.choice([*WORK, SINK]), rng.choice(RATES)
    with net.slow(host, rate):
        time.sleep(seconds)
    return f"{host} sent {rate}/s at most"


def dies(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """All processes of a host are killed at once; after a while they are started again."""
    host = rng.choice([*WORK, *WORK, SINK, net.broker_host])
    net.dies(host)
    time.sleep(seconds)
    net.starts(host)
    return f"{host} died, and came back"


def joins(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """A host comes, works for all stages, and leaves."""
    units = [net.add(FREE, "keep", ["first", "second"]), net.add(FREE, "anew", ["first", "sum"])]
    for pipeline in ("keep", "anew"):
        net.there(pipeline, 3)
    time.sleep(seconds)
    for unit in units:
        net.remove(unit)
    return f"{FREE} came and left"


def moves(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """The broker is moved to another host."""
    return f"the broker is on {net.move_broker()} now"


def rolls(net: LabNetwork, rng: random.Random, seconds: float) -> str:
    """New code on all hosts, one after the other.

    Of ``keep``, nodes with the new code are started beside those with the old one, for which jobs go on; they
    leave at the end of the round. Of ``anew``, each node is stopped, and one with the new code started.
    """
    net.version += 1
    hosts = list(WORK)
    rng.shuffle(hosts)
    for host in hosts:
        for unit in [unit for unit in net.units if unit.host == host and unit.version < net.version]:
            if unit.pipeline == "anew":
                net.remove(unit)
            net.add(host, unit.pipeline, unit.stages)
        time.sleep(seconds)
    net.there("keep", 4)
    net.there("anew", 2)
    return f"all hosts have code {net.version} now"


CUTS = (3.0, 10.0, 30.0)
"""Seconds: less than a lease, more than one, and more than ZeroMQ waits for a link."""

FAULTS = {
    "cut": Fault(cut, CUTS),
    "deaf": Fault(deaf, CUTS),
    "mute": Fault(mute, CUTS),
    "from-broker": Fault(from_broker, CUTS),
    "from-stage": Fault(from_stage, CUTS),
    "slow": Fault(slow, CUTS),
    "dies": Fault(dies, (0.0, 3.0, 10.0)),
    "joins": Fault(joins, (1.0, 5.0)),
    "moves": Fault(moves, (1.0,), alone=True),
    "rolls": Fault(rolls, (0.0, 1.0), alone=True),
}
"""Name -> what happens."""
