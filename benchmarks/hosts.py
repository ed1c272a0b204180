"""Two network namespaces, joined by a cable of their own: nothing touches the machine's network."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peer import CannotDo

__all__ = ["ADDRESSES", "AWAY", "away", "enter", "two_hosts"]

ADDRESSES = ("10.98.0.1", "10.98.0.2")
"""Address of the client's host, and of the other one."""
AWAY = "ZTURBO_BENCHMARK_AWAY"
"""Environment variable with the name of the other host's namespace."""


def enter(space: str) -> list[str]:
    """Words before a command that runs it in a namespace."""
    return ["ip", "netns", "exec", space]


def away() -> list[str]:
    """Words before a command that runs it on the other host."""
    return enter(os.environ[AWAY])


def _ip(words: str) -> None:
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotDo(f"network namespaces cannot be made here: {done.stderr.strip()}")


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Names of both namespaces; they are removed at the end.

    Raises:
        CannotDo: they cannot be made here.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise CannotDo("network namespaces need root and the command 'ip' (Debian package iproute2)")
    mark = f"zt-{uuid.uuid4().hex[:6]}"
    spaces = (f"{mark}-a", f"{mark}-b")
    try:
        for space in spaces:
            _ip(f"netns add {space}")
            _ip(f"-n {space} link set lo up")
        _ip(f"-n {spaces[0]} link add eth0 type veth peer name eth0 netns {spaces[1]}")
        for space, address in zip(spaces, ADDRESSES, strict=True):
            _ip(f"-n {space} addr add {address}/24 dev eth0")
            _ip(f"-n {space} link set eth0 up")
        yield spaces
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
