"""A link between two members is broken: which of the two goes? And the sentence that names the link.

The one that others reach too stays. A member and the hosts of others that it exchanges messages with are its
*good* hosts; hosts with which it does not are its *bad* ones.
"""

from __future__ import annotations

from collections.abc import Callable

from zturbo.checks import is_loopback
from zturbo.slotted import slotted
from zturbo.wire.control.view import Member
from zturbo_broker.members.reach import plain_hosts

__all__ = ["End", "goes", "newcomer_goes", "sentence"]


@slotted(frozen=True)
class End:
    """One end of a broken link."""

    member: Member
    good: frozenset[str]
    """Hosts with whose members it exchanges messages; its own, if it has a partner there."""
    bad: frozenset[str]
    """Hosts with whose members it does not, beside the other end."""
    only: bool
    """Whether there is no other member in its place: no job goes on without it."""
    reached: bool | None
    """Whether messages of the other end reach this one; None if that is not known."""

    @property
    def share(self) -> float:
        """The share of its links that is broken."""
        bad = len(self.bad) + 1
        return bad / (bad + len(self.good))


def goes(one: End, other: End) -> End:
    """Which of two members goes. The one that joined later is given first.

    A member without any good link goes before one that has some. Then the one of whose links a greater share
    is broken goes; then one that others can stand in for; then a worker goes before a sink; then the end that
    is not reached; then the later one. The broker never goes.
    """
    return max(
        (one, other),
        key=lambda end: (
            end.member.role != "broker",
            not end.good,
            end.share,
            not end.only,
            end.member.role == "worker",
            end.reached is False,
            end is one,
        ),
    )


def newcomer_goes(new: End, there: End) -> bool:
    """Whether a newcomer is kept out because it and a member do not reach each other.

    It is kept out, so that no working member is disturbed. But a member without any good link yields to a
    newcomer that has one, and a member that others can stand in for yields to the only one of its stage. If
    neither has a good link, :func:`goes` decides.
    """
    if there.member.role == "broker":
        return True
    if new.good:
        return bool(there.good) and (there.only or not new.only)
    return bool(there.good) or goes(new, there) is new


def sentence(one: End, other: End, name: Callable[[Member], str]) -> str:
    """The broken link, for people: both ends, the address, the direction, and what to do."""
    hosts = plain_hosts(one.member, other.member)

    def called(end: End) -> str:
        member = end.member
        who = name(member) if member.role == "worker" else f"the {member.role}"
        return f"{who} on {hosts[end is other]}"

    deaf = [end for end in (one, other) if end.reached is False]
    if len(deaf) == 1:
        (silent,) = deaf
        asking = other if silent is one else one
        here, there = hosts[silent is other], hosts[silent is one]
        return (
            f"{called(silent)} at {_address(silent.member)} does not answer {called(asking)}: open that port "
            f"of {here} for {there}, or start {called(silent)} with --address, an address by which {there} "
            "reaches it"
        )
    ends = " and ".join(f"{called(end)} at {_address(end.member)}" for end in (one, other))
    if deaf:
        return (
            f"{ends} do not answer each other: open these ports between the two hosts, see that each has a "
            "way to the other, or start them with --address, an address by which the other host reaches it"
        )
    return f"{ends} do not answer each other on their link, though single messages may get through"


def _address(member: Member) -> str:
    """Where other hosts try to reach it."""
    tcp = [end for end in member.endpoints if end.startswith("tcp:")]
    far = [end for end in tcp if not is_loopback(end)]
    return next(iter([*far, *tcp, *member.endpoints, "no address"])).removeprefix("tcp://")
