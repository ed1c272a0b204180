"""Settings of the tables ``[broker]`` and ``[listen]``: their defaults, and the values that they take.

Each one can also be given by a flag and by an environment variable, which are named after the key:
``client_jobs`` is ``--client-jobs`` and ``$ZTURBO_CLIENT_JOBS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from zturbo.checks import is_address, is_number
from zturbo.errors import UsageError

__all__ = [
    "BROKER",
    "LISTEN",
    "LOCAL_KEYS",
    "BrokerSpec",
    "Key",
    "ListenSpec",
    "flag_of",
    "is_ports",
    "variable_of",
]

LOCAL_KEYS = ("auto", "always", "never")
"""Values of ``local_keys``: keys on loopback if others have accounts here, in any case, or not."""

JOBS = ("own", "shared")
"""Values of ``jobs``."""


@dataclass(slots=True, frozen=True)
class BrokerSpec:
    """Table ``[broker]``."""

    bind: str = "tcp://127.0.0.1:5555"
    """Address of the broker's control socket, ``tcp://HOST:PORT`` or ``ipc://PATH``."""
    state: str | None = None
    """Folder of the ledger and the sinks' spools; default ``.zturbo/NAME`` beside the file NAME.toml."""
    lease: float = 5.0
    """Seconds after which a worker counts as dead if its node does not renew its lease."""
    feed_timeout: float = 60.0
    """Seconds that a client may be silent while it feeds a job; then the job ends with ClientLost."""
    spool_share: int = 4 << 30
    """Bytes of unread results that a job may have at a sink. At this limit, its first stage gets no more
    roots."""
    client_jobs: int = 2_000_000
    """Unfinished jobs that a client may have. A submit beyond that waits at the client until some have ended,
    as it does beyond the next two. With keys, all connections under one key are one client."""
    client_bytes: int = 64 << 30
    """Bytes of roots that the unfinished jobs of a client may have in the ledger."""
    memory: int = 4 << 30
    """About how many bytes of the broker's memory the unfinished jobs of all clients may take: 6 KiB each."""
    keys: str | None = None
    """Folder or file of keys, as ``zturbo keys`` makes them; relative to the network file. None: no keys."""
    local_keys: str = "auto"
    """Whether a broker on loopback without ``keys`` makes some by itself, in its state, which your own
    clients find without a flag. ``auto``: if others have an account here, or are logged in. ``always``,
    ``never``."""
    jobs: str = "own"
    """With keys: which jobs a client may read and cancel. ``own``: those that were submitted under its key.
    ``shared``: all of them."""

    @property
    def limits(self) -> dict[str, int]:
        """Bounds of unfinished jobs, for the broker's process."""
        return {name: getattr(self, name) for name in ("client_jobs", "client_bytes", "memory")}


@dataclass(slots=True, frozen=True)
class ListenSpec:
    """Table ``[listen]``: where all processes listen, on each host."""

    ports: str | None = None
    """Ports that they take, such as ``5555-5600``; without it, any free ones. A worker takes one, a sink two,
    and a broker one beside its own."""
    interface: str | None = None
    """Card whose addresses they bind, such as ``ib0``, where ``--address`` names none."""
    connections: int | None = None
    """Connections that each process takes at most; without it, five eighths of the open files that it
    may have. Beyond that some are ended: those that never said anything, else the newest."""
    half_open: int | None = None
    """Connections that have not shaken hands yet, of those that come to a process, at most; without it, a
    quarter of the open files that it may have, and 4,096 at most. Beyond that the oldest are ended."""


class Key(NamedTuple):
    """A key of one of these tables."""

    kind: type
    """``str``, ``int``, or ``float`` of a number of either kind."""
    expected: str
    """What to give, as an error says it."""
    fits: Callable[[Any], bool]
    """Whether a value of that kind will do."""
    about: str
    """What the value is, for ``--help``."""
    metavar: str
    """Stands for the value there."""

    @property
    def kinds(self) -> tuple[type, ...]:
        """The types that a value in the file may have."""
        return (int, float) if self.kind is float else (self.kind,)

    def read(self, text: str) -> Any:
        """The value that a flag or a variable has.

        Raises:
            ValueError: it is none; the error says what is expected.
        """
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value is None or not self.fits(value):
            raise ValueError(f"expected {self.expected}, found {text!r}")
        return value


def _count(of: str, about: str) -> Key:
    return Key(int, f"a number of {of}, 1 or more", lambda v: 1 <= v < 1 << 62, about, "N")


def _seconds(least: float, about: str) -> Key:
    return Key(float, f"seconds, {least:g} or more", lambda v: is_number(v, least), about, "SECONDS")


def _connections(about: str) -> Key:
    return Key(int, "a number of connections, 16 or more", lambda v: v >= 16, about, "N")


def _choice(values: tuple[str, ...], about: str) -> Key:
    *first, last = map(repr, values)
    return Key(str, f"{', '.join(first)} or {last}", lambda v: v in values, about, "|".join(values))


def _is_path(text: str) -> bool:
    return bool(text) and "\0" not in text


def is_ports(text: str) -> bool:
    """Whether a text names ports: ``5555-5600``."""
    from zturbo.runtime.net.listening import parse_ports  # it takes long to import

    try:
        parse_ports(text, "")
    except UsageError:
        return False
    return True


def flag_of(key: str) -> str:
    """The flag of a key."""
    return f"--{key.replace('_', '-')}"


def variable_of(key: str) -> str:
    """The environment variable of a key."""
    return f"ZTURBO_{key.upper()}"


BROKER: Mapping[str, Key] = {
    "bind": Key(
        str,
        "an address, tcp://HOST:PORT or ipc://PATH",
        is_address,
        "address that the broker listens at",
        "ADDRESS",
    ),
    "state": Key(str, "a folder", _is_path, "folder of the ledger and the spools", "FOLDER"),
    "lease": _seconds(
        0.5, "seconds after which a worker counts as dead if its node is silent, the same everywhere"
    ),
    "feed_timeout": _seconds(5, "seconds that a client may be silent while it feeds a job"),
    "spool_share": _count("bytes", "bytes of unread results that a job may have at a sink"),
    "client_jobs": _count("jobs", "unfinished jobs that a client may have at the broker"),
    "client_bytes": _count("bytes", "bytes of roots that a client's unfinished jobs may have at the broker"),
    "memory": _count("bytes", "bytes of the broker's memory that unfinished jobs may take"),
    "keys": Key(str, "a folder or a file of keys", _is_path, "a file of keys, or a folder of them", "PATH"),
    "local_keys": _choice(
        LOCAL_KEYS, "auto, always or never: whether a broker on loopback makes keys by itself"
    ),
    "jobs": _choice(JOBS, "own or shared: the jobs that a client with a key may read and cancel"),
}
"""Key of ``[broker]`` -> what it takes."""

LISTEN: Mapping[str, Key] = {
    "ports": Key(
        str, "ports such as '5555-5600'", is_ports, "ports to listen at, such as 5555-5600", "FIRST-LAST"
    ),
    "interface": Key(
        str,
        "a card such as 'ib0'",
        bool,
        "card whose addresses to listen at where no address is named, such as ib0",
        "CARD",
    ),
    "connections": _connections("connections that each process takes at most"),
    "half_open": _connections("connections to each process that have not shaken hands, at most"),
}
"""Key of ``[listen]`` -> what it takes."""
