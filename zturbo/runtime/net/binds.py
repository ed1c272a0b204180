"""Why an address cannot be bound: in an error, and for checks before anything starts."""

from __future__ import annotations

import errno
import os
import socket
from urllib.parse import urlsplit

from zturbo.errors import UsageError
from zturbo.runtime.net.host import lacks_zone

__all__ = ["bind_failure", "bind_problem", "free_port", "own_addresses"]


def own_addresses() -> list[str]:
    """The IP addresses of this host, loopback last."""
    import psutil  # imported here: members start often, and do not need it

    families = (socket.AF_INET, socket.AF_INET6)
    found = [one.address for card in psutil.net_if_addrs().values() for one in card if one.family in families]
    return sorted(dict.fromkeys(found), key=lambda address: address.startswith(("127.", "::1")))


def free_port(address: str, ports: tuple[int, int] | None) -> int:
    """A port that nobody uses at an address of this host.

    Args:
        address: IP address.
        ports: the first and the last that will do; None for any.

    Raises:
        UsageError: this host has no such address, or all of the ports are in use.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    first, last = ports or (0, 0)  # 0 for any free one
    for wanted in range(first, last + 1):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, wanted))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise UsageError(
                    f"--address: {address} cannot be bound: {error.strerror}; this host has "
                    f"{', '.join(own_addresses())}"
                ) from None
            port: int = probe.getsockname()[1]
            return port
    raise UsageError(f"--ports: all ports of {address} from {first} to {last} are in use")


def bind_failure(address: str, code: int | None) -> str:
    """A sentence about an address that could not be bound, of the number of the error."""
    if address.startswith("ipc:"):
        return f"cannot bind {address}: {_folder_problem(address) or os.strerror(code or errno.EIO)}"
    parts = urlsplit(address)
    if code == errno.EADDRINUSE:
        return f"cannot bind {address}: it is in use by another program"
    if code in (errno.EADDRNOTAVAIL, errno.ENODEV):
        have = ", ".join(own_addresses())
        return f"cannot bind {address}: {parts.hostname} is not an address of this host; it has {have}"
    if advice := lacks_zone(parts.hostname or ""):
        return f"cannot bind {address}: it is {advice}"
    if code == errno.EACCES and parts.scheme == "tcp":
        return f"cannot bind {address}: only root may listen at this port; take one from 1024 on"
    return f"cannot bind {address}: {os.strerror(code) if code else 'unknown error'}"


def bind_problem(address: str) -> str:
    """Why no process of this host can listen at an address, whoever has it now; or empty.

    Args:
        address: ``tcp://HOST:PORT`` or ``ipc://PATH``.
    """
    if address.startswith("ipc:"):
        why = _folder_problem(address)
        return f"cannot bind {address}: {why}" if why else ""
    try:
        parts = urlsplit(address)
        host = {"*": "0.0.0.0"}.get(parts.hostname or "", parts.hostname or "")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        where = socket.getaddrinfo(host, parts.port or 0, family, socket.SOCK_STREAM)[0][4]
    except (OSError, ValueError):
        return f"{address} has a name that this host does not know"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return "" if error.errno == errno.EADDRINUSE else bind_failure(address, error.errno)
    return ""


def _folder_problem(address: str) -> str:
    """Why no socket can be made at ``ipc://PATH``, as far as its folder tells; or empty."""
    path = address.removeprefix("ipc://")
    folder = os.path.dirname(os.path.abspath(path))
    if path.startswith("@"):  # a name that no folder has
        return ""
    if not os.path.isdir(folder):
        return f"there is no folder {folder}: make it, or name another one"
    if os.path.isdir(path):
        return f"{path} is a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} cannot be written: name another one"
    return ""
