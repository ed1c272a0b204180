"""Whether the addresses of two members with a link fit: on two hosts, others have to reach both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from zturbo.checks import is_loopback
from zturbo.wire.control.view import Member

__all__ = ["far_ends", "far_hosts", "linked", "plain_host", "plain_hosts", "share_host", "why_apart", "works"]


PARSED = 16_384
"""Members whose addresses are kept as they were parsed."""

_MARK = re.compile(r"-[0-9a-f]{8}-\d+$")
"""What a host's name ends with: its boot, and its network."""

_ORDER = {"broker": 0, "worker": 1, "sink": 2}


def why_apart(member: Member, other: Member, name: Callable[[Member], str]) -> str:
    """Why two members that have a link cannot work together: one of them has no address for the other's host.

    Between two such members tasks, or the statements about them, would never arrive, and one of the two would
    be taken out of the view again and again. A worker counts as linked with each later ordered stage and with
    the sinks, though its ENDs and failures go to the next sequencer alone.

    Args:
        member: the newcomer.
        other: the one that was a member before.
        name: gives a worker's name, for people.

    Returns:
        The reason, and which of the two is to be started again with which arguments.
    """
    deaf, far = (member, other) if not _hears(member, other) else (other, member)
    hosts = plain_hosts(deaf, far)
    who, whom = (name(m) if m.role == "worker" else f"the {m.role}" for m in (deaf, far))
    return (
        f"{who} on {hosts[0]} can be reached from its own host alone, and {whom} is on {hosts[1]}: start "
        f"{who} with --insecure and --address, the address by which others reach its host"
    )


def plain_host(member: Member) -> str:
    """The name of its host for people, without the mark of its boot and its network."""
    return _MARK.sub("", member.host)


def plain_hosts(one: Member, other: Member) -> tuple[str, str]:
    """The names of the hosts of two members; with their marks, if two hosts have one name."""
    names = plain_host(one), plain_host(other)
    return (one.host, other.host) if names[0] == names[1] and one.host != other.host else names


def works(member: Member, others: Iterable[Member]) -> bool:
    """Whether it has a link with another member, and the two reach each other."""
    return any(
        linked(member, other) and _hears(member, other) and _hears(other, member)
        for other in others
        if other.incarnation != member.incarnation
    )


def _hears(member: Member, other: Member) -> bool:
    """Whether this member has an address for the other's host."""
    return member.host == other.host or bool(far_hosts(member))


def far_ends(member: Member) -> tuple[str, ...]:
    """A member's addresses for other hosts, those for clients too."""
    ends = (*member.endpoints, *member.results)
    return tuple(end for end in ends if end.startswith("tcp:") and not is_loopback(end))


def far_hosts(member: Member) -> frozenset[str]:
    """The hosts in a member's addresses for other hosts."""
    return _far_hosts(member.endpoints)


def share_host(one: Member, other: Member) -> bool:
    """Whether two members are on one host, as far as their names and addresses tell.

    Two hosts may have one name, where containers do not tell of their boot. Such hosts have no address in
    common.
    """
    if one.host != other.host:
        return False
    ours, theirs = far_hosts(one), far_hosts(other)
    return not (ours and theirs and ours.isdisjoint(theirs))


@lru_cache(maxsize=PARSED)
def _far_hosts(endpoints: tuple[str, ...]) -> frozenset[str]:
    far = (end for end in endpoints if end.startswith("tcp:") and not is_loopback(end))
    return frozenset(end.rpartition(":")[0] for end in far)


def linked(one: Member, other: Member) -> bool:
    """Whether roots, tasks, ENDs or failures go from one to the other."""
    first, second = (one, other) if _place(one) <= _place(other) else (other, one)
    if second.role == "sink":
        return first.role != "sink"
    if first.role == "broker":
        return second.role == "worker" and (second.stage == 0 or second.ordered)
    further = second.stage == first.stage + 1 or (second.ordered and second.stage > first.stage)
    return first.pipeline == second.pipeline and further


def _place(member: Member) -> tuple[int, int]:
    return _ORDER[member.role], member.stage
