"""How many sockets and open files a process may have, and the one place that makes ZeroMQ contexts.

Each peer of a process takes some descriptors: a socket's own and those of the connections. Where they run
out, peers do not reach each other, which looks like a broken network. So the limits are raised as far as they
go, and a process says that they are too low before they are reached.
"""

from __future__ import annotations

import contextlib
import os
import resource

import zmq

from zturbo.errors import StartError

__all__ = [
    "PER_RUNNING_CHILD",
    "check_children",
    "check_room",
    "descriptors",
    "most_members",
    "new_context",
    "raise_descriptor_limit",
    "shortage",
]

ROOM = 24
"""Descriptors that a context and its first socket take together, and some to spare."""

MOST = 1 << 16
"""Descriptors beyond which no process raises its limit: a user's code may go through all of them."""

MOST_SOCKETS = 1 << 15
"""Sockets of one context at most. ZeroMQ's own limit is 1,023. Each takes 12 bytes even if it is not used."""

PER_PEER = 3
"""Descriptors for one peer: the socket that sends to it, its connection, and the peer's own connection."""

PER_MEMBER = 4
"""Descriptors of a broker for one member: its control connection, and those of a peer."""

PER_CHILD = 8
"""Descriptors of a node for one child, while it starts."""

PER_RUNNING_CHILD = 6
"""Descriptors of a node for one child that runs."""

OWN = 64
"""Descriptors that a process has for itself, about."""

_ADVICE = "raise the limit, by 'ulimit -n', LimitNOFILE of systemd, or /etc/security/limits.conf"


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """A ZeroMQ context with one I/O thread, and with as many sockets as this process may have descriptors."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
    context.set(zmq.MAX_SOCKETS, max(1023, min(descriptors(), MOST_SOCKETS)))
    return context


def descriptors() -> int:
    """Open files that this process may have now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> None:
    """Raise this process's limit of descriptors as far as it may go, up to :data:`MOST`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        hard = MOST if hard == resource.RLIM_INFINITY else hard
    aim = min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < aim:
        with contextlib.suppress(ValueError, OSError):  # the kernel may allow fewer
            resource.setrlimit(resource.RLIMIT_NOFILE, (aim, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def check_room() -> None:
    """Raise StartError if this process has no descriptors for a socket: libzmq would abort it."""
    held: list[int] = []
    try:
        while len(held) < ROOM:
            held.append(os.eventfd(0, os.EFD_CLOEXEC))
    except OSError as error:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise StartError(
            f"this process has no descriptors left for a connection ({error.strerror}; its limit is {soft}): "
            "close clients that are not used any more, or raise the limit with 'ulimit -n'"
        ) from None
    finally:
        for fd in held:
            os.close(fd)


def check_children(count: int, each: int = PER_CHILD) -> None:
    """Refuse to start more children than this process has descriptors for.

    Args:
        count: of the children.
        each: descriptors for each of them.

    Raises:
        StartError: it says how many are needed, and how the limit is raised.
    """
    need, have = count * each + OWN, descriptors()
    if need > have:
        raise StartError(
            f"{count} processes are to start, for which this one needs about {need} open files, and it may "
            f"have {have}: {_ADVICE}, to {need} or more; or start fewer"
        )


def most_members() -> int:
    """Members for which a broker has descriptors."""
    return max(1, (descriptors() - OWN) // PER_MEMBER)


def shortage(peers: int) -> str:
    """What a process lacks for so many peers, as a text for people; empty if it lacks nothing."""
    need, have = peers * PER_PEER + OWN, descriptors()
    if need <= have:
        return ""
    return (
        f"it has {peers} peers, needs about {need} open files for them, and may have {have}: {_ADVICE} there"
    )
