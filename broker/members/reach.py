"""Whether the addresses of two members with a link fit: on two hosts, others have to reach both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from zturbo.checks import is_loopback
from zturbo.wire.control.view import Member

__all__ = ["Apart", "linked", "out_of_reach", "share_host", "works"]


PARSED = 16_384
"""Members whose addresses are kept as they were parsed: each newcomer is compared with all members."""

_ORDER = {"broker": 0, "worker": 1, "sink": 2}


class Apart(NamedTuple):
    """Two members that have a link and cannot reach each other."""

    other: Member
    """The one that was a member before."""
    text: str
    """Why, and which of the two is to be started again with which arguments, for people."""


def out_of_reach(member: Member, others: Iterable[Member], name: Callable[[Member], str]) -> Apart | None:
    """The first of the others with which this member cannot work; None if it can work with all.

    Between two such members tasks, or the statements about them, would never arrive, and one of the two would
    be taken out of the view again and again. A worker counts as linked with each later ordered stage and with
    the sinks, though its ENDs and failures go to the next sequencer alone.

    Args:
        member: the newcomer.
        others: the members that are there.
        name: gives a worker's name, for people.
    """
    for other in others:
        for deaf, far in ((member, other), (other, member)):
            if not _hears(deaf, far) and linked(member, other):
                who, whom = (name(m) if m.role == "worker" else f"the {m.role}" for m in (deaf, far))
                text = (
                    f"{who} on {deaf.host} can be reached from its own host alone, and {whom} is on "
                    f"{far.host}: start {who} with --insecure and --address, the address by which others "
                    "reach its host"
                )
                return Apart(other, text)
    return None


def works(member: Member, others: Iterable[Member]) -> bool:
    """Whether it has a link with another member, and the two reach each other."""
    return any(
        linked(member, other) and _hears(member, other) and _hears(other, member)
        for other in others
        if other.incarnation != member.incarnation
    )


def _hears(member: Member, other: Member) -> bool:
    """Whether this member has an address for the other's host."""
    return member.host == other.host or bool(_far_hosts(member.endpoints))


def share_host(one: Member, other: Member) -> bool:
    """Whether two members are on one host, as far as their names and addresses tell.

    Two hosts may have one name, where containers do not tell of their boot. Such hosts have no address in
    common.
    """
    if one.host != other.host:
        return False
    ours, theirs = _far_hosts(one.endpoints), _far_hosts(other.endpoints)
    return not (ours and theirs and ours.isdisjoint(theirs))


@lru_cache(maxsize=PARSED)
def _far_hosts(endpoints: tuple[str, ...]) -> frozenset[str]:
    """The hosts in a member's addresses for other hosts."""
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
