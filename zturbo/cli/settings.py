"""The arguments for settings of a network file that a command may have other values for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from zturbo.deploy.network import Network
from zturbo.deploy.settings import BROKER, LISTEN, BrokerSpec, Key, flag_of, variable_of
from zturbo.errors import UsageError

__all__ = ["add_settings", "flags", "from_environment", "overridden"]

ALL = ("ports", "interface", "connections", "half_open", "lease", "local_keys")
OF_BROKER = ("feed_timeout", "client_jobs", "client_bytes", "memory", "jobs")
OF_SINK = ("spool_share",)

FOLDERS = ("state", "keys")
"""Paths. In the file they are relative to it, and in a flag or a variable to the working directory."""


def add_settings(parser: argparse.ArgumentParser, *, broker: bool = False, sink: bool = False) -> None:
    """Add the arguments of all settings that have no other arguments.

    Args:
        parser: of a command that runs processes.
        broker: whether a broker is one of them.
        sink: whether a sink is.
    """
    group = parser.add_argument_group("settings of the network file")
    for key in (*ALL, *(OF_BROKER if broker else ()), *(OF_SINK if sink else ())):
        of = BROKER.get(key) or LISTEN[key]
        default = getattr(BrokerSpec(), key, None)
        last = "" if default is None else f", else {default:g}" if of.kind is float else f", else {default}"
        group.add_argument(
            flag_of(key),
            metavar=of.metavar,
            type=_reader(of),
            help=f"{of.about}; default: ${variable_of(key)}, else '{key}' in the file{last}",
        )


def _reader(of: Key) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return of.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def flags(args: argparse.Namespace) -> list[str]:
    """The words of a command line for those of its settings that were given by flags."""
    keys = [*ALL, *OF_BROKER, *OF_SINK]
    given = {key: getattr(args, key, None) for key in keys}
    return [word for key, value in given.items() if value is not None for word in (flag_of(key), str(value))]


def overridden(args: argparse.Namespace, network: Network) -> Network:
    """The network with the values of flags, else those of the environment, else its own.

    Raises:
        UsageError: a variable has a value that its setting does not take.
    """
    broker = replace(network.broker, **_given(args, BROKER))
    return replace(network, broker=broker, listen=replace(network.listen, **_given(args, LISTEN)))


def from_environment(network: Network) -> Network:
    """The network with the values that variables have, as a command without flags takes them.

    Raises:
        UsageError: a variable has a value that its setting does not take.
    """
    network = overridden(argparse.Namespace(**dict.fromkeys((*BROKER, *LISTEN))), network)
    text = os.environ.get(variable_of("bind"))
    if not text:
        return network
    try:
        return replace(network, broker=replace(network.broker, bind=BROKER["bind"].read(text)))
    except ValueError as error:
        raise UsageError(f"${variable_of('bind')}: {error}") from None


def _given(args: argparse.Namespace, keys: Mapping[str, Key]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, of in keys.items():
        if key == "bind" or not hasattr(args, key):
            continue  # the commands without a broker find it at another flag
        value = getattr(args, key)
        if value in (None, "") and (text := os.environ.get(variable_of(key))):
            try:
                value = of.read(text)
            except ValueError as error:
                raise UsageError(f"${variable_of(key)}: {error}") from None
        if value not in (None, ""):
            found[key] = os.path.abspath(value) if key in FOLDERS else value
    return found
