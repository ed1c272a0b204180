"""The arguments that say where the processes of a command listen, and what they tell others."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from collections.abc import Callable

from zturbo.checks import did_you_mean
from zturbo.deploy.network import Network
from zturbo.errors import NetworkFileError, UsageError
from zturbo.runtime.net.host import tcp_address
from zturbo.runtime.net.listening import EVERYWHERE, Listening, parse_ports, parse_told, resolved
from zturbo.runtime.net.sockets import check_bind

__all__ = ["add_listen", "card_addresses", "check_ports", "listening_of", "ports_of"]


def add_listen(parser: argparse.ArgumentParser, *, binds: bool) -> None:
    """Add the arguments.

    Args:
        parser: of a command.
        binds: whether the command runs the broker, whose address ``--bind`` names.
    """
    if not binds:
        parser.add_argument(
            "--bind",
            dest="listen",
            metavar="HOST",
            help="addresses of this host to listen at, if they are not those that others are told: with "
            "commas between them, or 0.0.0.0 for all; default: $ZTURBO_LISTEN",
        )
    parser.add_argument(
        "--advertise",
        metavar="HOST[:PORT]",
        help="addresses that others are told, if they are not those that the processes listen at (NAT, port "
        "mapping). PORT leads to the first of the ports, and the next ones to the next; default: "
        "$ZTURBO_ADVERTISE",
    )


def _given(args: argparse.Namespace, name: str) -> str | None:
    value: str | None = getattr(args, name, None)
    return value or os.environ.get(f"ZTURBO_{name.upper()}")


def listening_of(
    args: argparse.Namespace, network: Network, own: Callable[[], str | None], *, insecure: bool
) -> Listening | None:
    """Where the processes of a command listen; None if nothing says so, and they are for this host alone.

    Args:
        args: of the command; ``address`` is filled in from the environment.
        network: the network file, with the settings of flags and environment.
        own: finds this host's address towards the broker; called if no address is named.
        insecure: whether there are keys, or the user wants none.

    Raises:
        UsageError: an argument has a mistake, or others could reach an address without keys.
    """
    ports = ports_of(network)
    told = tuple(
        (resolved(host, "--advertise"), port)
        for host, port in (parse_told(one, "--advertise") for one in _parts(_given(args, "advertise")))
    )
    if ports is None and any(port for _, port in told):
        raise UsageError("--advertise HOST:PORT needs --ports: PORT leads to the first of them")
    hosts = _hosts(_given(args, "listen"), "--bind") or _hosts(args.address, "--address")
    card = network.listen.interface
    if not hosts and card:
        hosts = card_addresses(card)
    if not hosts and told:
        hosts = ["::" if any(":" in host for host, _ in told) else "0.0.0.0"]
    for host in hosts:
        check_bind(tcp_address(host, 1), insecure=insecure)
    if not hosts:
        found = own()
        hosts = [found] if found else []
        args.address = found
    if not hosts and ports is None:
        return None
    return Listening(tuple(hosts) or ("127.0.0.1",), ports, told)


def ports_of(network: Network) -> tuple[int, int] | None:
    """First and last of the ports that a network's processes listen at; None for any free ones."""
    spec = network.listen.ports
    return None if spec is None else parse_ports(spec, "--ports")


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _hosts(text: str | None, where: str) -> list[str]:
    """IP addresses of this host, of names and addresses; or one that stands for all of its addresses."""
    found = [part[1:-1] if part[:1] == "[" and part[-1:] == "]" else part for part in _parts(text)]
    return [host if host in EVERYWHERE else resolved(host, where) for host in found]


def card_addresses(card: str) -> list[str]:
    """The addresses of a network card: IPv4 first, and link-local ones only if it has no others.

    Raises:
        UsageError: this host has no such card, or the card has no address.
    """
    import psutil  # it takes long to import

    cards = psutil.net_if_addrs()
    if card not in cards:
        raise UsageError(f"--interface: this host has no card {card!r}; {did_you_mean(card, cards)}")
    families = (socket.AF_INET, socket.AF_INET6)
    found = [one.address.partition("%")[0] for one in cards[card] if one.family in families]
    found.sort(key=lambda address: ":" in address)
    local = [one for one in found if ipaddress.ip_address(one).is_link_local]
    usable = [one for one in found if one not in local] or [f"{one}%{card}" for one in local if ":" in one]
    if not usable:
        raise UsageError(f"--interface: the card {card!r} has no address")
    return usable


def check_ports(network: Network, ports: tuple[int, int] | None) -> None:
    """Refuse fewer ports than all processes of a network file take on one host.

    Raises:
        NetworkFileError: it says how many are needed.
    """
    if ports is None:
        return
    need = 3 + sum(stage.workers for pipeline in network.pipelines for stage in pipeline.stages)
    have = ports[1] - ports[0] + 1
    if need > have:
        raise NetworkFileError(
            network.path,
            "listen.ports",
            f"{ports[0]}-{ports[1]} are {have} ports, and all processes on one host take {need}: one for "
            "each worker, two for the sink, and one for the broker beside its own",
        )
