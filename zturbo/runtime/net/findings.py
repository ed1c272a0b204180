"""What an address shows while no process answers there: refused, no answer, name not known, no route.

ZeroMQ connects in the background, and does not tell why it does not succeed. So a process that waits for
another one looks itself, in a thread: it resolves the name as ZeroMQ does, and connects by TCP. ZeroMQ
resolves names anew at each try, and so does this.
"""

from __future__ import annotations

import errno
import math
import os
import threading
from typing import Any
from urllib.parse import urlsplit

from zturbo.errortext import error_text
from zturbo.runtime.net.host import lacks_zone

__all__ = ["CONNECT", "LOOK", "Examiner", "examine", "is_resolved"]

PATIENCE = 1.0
"""Seconds without an answer before the first look."""

CONNECT = 1.5
"""Seconds in which a host has to take a connection."""

AGAIN = 2.0
"""Seconds between two looks."""

RESOLVE = CONNECT + 0.4
"""Seconds after which a look that has not ended is told as a name that is still being resolved."""

LOOK = 0.1
"""Seconds between two glances at a look that has not ended."""


def examine(address: str, timeout: float = CONNECT) -> tuple[bool, str]:
    """(whether a process takes connections at an address now, what is seen there). It may take a while.

    Args:
        address: ``tcp://HOST:PORT`` or ``ipc://PATH``.
        timeout: seconds in which a host has to take the connection.
    """
    import socket  # imported here: workers start often, and do not need it

    if address.startswith("ipc://"):
        path = address.removeprefix("ipc://")
        where: Any = f"\0{path[1:]}" if path.startswith("@") else path
        return _connect(socket.AF_UNIX, where, path, timeout)
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        return False, f"{address} is not an address"
    if advice := lacks_zone(host):
        return False, f"{host} is {advice}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except OSError as error:
        return False, _unresolved(host, error)
    where = found[0][4]
    text = f"[{where[0]}]:{port}" if ":" in where[0] else f"{where[0]}:{port}"
    answers, seen = _connect(family, where, text, timeout)
    return answers, seen if _is_numeric(host) else f"{host} is {where[0]}, and {seen}"


def _is_numeric(host: str) -> bool:
    """Whether a host is given by its IP address, so that there is no name to resolve."""
    import ipaddress

    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _has_name(address: str) -> bool:
    """Whether an address has a name that is to be resolved."""
    try:
        return address.startswith("tcp:") and not _is_numeric(urlsplit(address).hostname or "")
    except ValueError:
        return False


def is_resolved(address: str) -> bool:
    """Whether this host knows the name in an address now, as ZeroMQ resolves it. True if there is no name."""
    import socket

    if not _has_name(address):
        return True
    try:
        socket.getaddrinfo(urlsplit(address).hostname, None, socket.AF_INET)
    except OSError:
        return False
    return True


def _unresolved(host: str, error: OSError) -> str:
    """Why a host has no address that can be used."""
    import socket

    if ":" not in host:
        try:
            other = socket.getaddrinfo(host, None, socket.AF_INET6)[0][4][0]
        except OSError:
            pass
        else:
            return f"{host} has no IPv4 address, only {other}: write it as tcp://[{other}]:PORT"
    why = error.strerror or "no answer"
    if error.errno == socket.EAI_AGAIN:
        return f"no name server answers for the name {host} ({why})"
    return f"this host does not know the name {host} ({why})"


def _connect(family: int, where: Any, text: str, timeout: float) -> tuple[bool, str]:
    import socket

    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(timeout)
            probe.connect(where)
    except OSError as error:
        return False, _failure(error, text, timeout, ipv6=family == socket.AF_INET6)
    except ValueError as error:  # a path with a null byte
        return False, error_text(error, 200)
    return True, f"{text} takes connections"


def _failure(error: OSError, text: str, timeout: float, *, ipv6: bool) -> str:
    code = error.errno
    if code == errno.ECONNREFUSED:
        return f"{text} refuses the connection: no process listens there"
    if code == errno.ENOENT:
        return f"there is no socket {text} on this host"
    if isinstance(error, TimeoutError) and code in (None, errno.EAGAIN):
        return f"{text} has not answered within {timeout:g} s: its host is down, or a firewall drops packets"
    if code == errno.ETIMEDOUT:
        return f"{text} does not answer: its host is down, or a firewall drops packets"
    if code in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
        return f"this host has no {'IPv6 ' if ipv6 else ''}route to {text}"
    if code == errno.EHOSTUNREACH:
        return (
            f"{text} cannot be reached: its host is down or on another network, or a firewall rejects packets"
        )
    if code in (errno.EINVAL, errno.EACCES, errno.EPERM):
        why = os.strerror(code)
        return f"this host may not connect to {text} ({why}): a route or a firewall here forbids it"
    return f"{text}: {error.strerror or error_text(error, 200)}"


class Examiner:
    """Looks at an address again and again, in a thread, as long as no process answers there.

    The loop of a process owns it, and asks :meth:`news` each round.

    Args:
        address: ``tcp://HOST:PORT`` or ``ipc://PATH``.
        role: of the process that is to answer there: ``broker`` or ``sink``.
        patience: seconds without an answer before the first look.
    """

    def __init__(self, address: str, role: str, patience: float = PATIENCE) -> None:
        self.address = address
        self._role = role
        self.seen = ""
        """What was seen last; empty if there was no need to look, or no time yet."""
        self._patience = patience
        self._at = math.inf
        """When the next look begins, or when to glance at the one that is under way."""
        self._began = 0.0
        self._thread: threading.Thread | None = None
        self._found: list[str] = []
        """The text of the last look, once it has ended; its thread appends it."""

    def news(self, now: float, *, answers: bool) -> str:
        """What is seen now, if that is other than before; else an empty text.

        Args:
            now: monotonic seconds.
            answers: whether a process answers, so that there is no need to look.
        """
        if answers:
            self.seen, self._at, self._thread = "", math.inf, None
            return ""
        if self._at == math.inf:
            self._at = now + self._patience
        if now < self._at:
            return ""
        text = self._glance(now)
        if not text or text == self.seen:
            return ""
        self.seen = text
        return text

    def deadline(self) -> float:
        """When to ask :meth:`news` again."""
        return self._at

    def _glance(self, now: float) -> str:
        """Begin a look, or see whether one has ended. Returns what is seen; empty if that is not known."""
        self._at = now + LOOK
        if self._thread is None:
            self._found, self._began = [], now
            thread = threading.Thread(target=self._look, args=(self._found,), name="look", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no room for a thread
                self._at = now + AGAIN
            else:
                self._thread = thread
            return ""
        if self._thread.is_alive():
            if now <= self._began + RESOLVE or not _has_name(self.address):
                return ""
            return "its name is still being resolved: no name server has answered"
        self._thread = None
        self._at = now + AGAIN
        return self._found[0] if self._found else ""

    def _look(self, found: list[str]) -> None:
        try:
            answers, text = examine(self.address)
            found.append(f"{text}, but no {self._role} answers there" if answers else text)
        except Exception as error:
            found.append(error_text(error, 200))
