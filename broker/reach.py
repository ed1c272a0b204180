"""Whether those who have a link reach each other: on one host over ipc, on two over tcp, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from zturbo.wire.control import Member

__all__ = ["Apart", "out_of_reach"]


class Apart(NamedTuple):
    """Two members that have a link and cannot reach each other."""

    deaf: Member
    """Who is to be started anew."""
    text: str
    """Why, and how, for people."""


def out_of_reach(member: Member, others: Iterable[Member], name: Callable[[Member], str]) -> Apart | None:
    """The first of the others with whom this member cannot work; None if it can with all.

    Without this, tasks that are sent to it, or its word on them, would never arrive, and one of the two
    would be taken out of the view again and again. All that is before an ordered stage or a sink counts as
    linked with it, though ENDs and failures go no further than to the next one.

    Args:
        member: who joins.
        others: who is there.
        name: of a worker, for people.
    """
    for other in others:
        if other.host == member.host or not _linked(member, other):
            continue
        for deaf, far in ((member, other), (other, member)):
            if not any(endpoint.startswith("tcp:") for endpoint in deaf.endpoints):
                who, whom = (name(m) if m.role == "worker" else f"the {m.role}" for m in (deaf, far))
                text = (
                    f"{who} on {deaf.host} can be reached from its own host alone, and {whom} is on "
                    f"{far.host}: start {who} with --insecure and --address, the address by which others "
                    "reach its host"
                )
                return Apart(deaf, text)
    return None


def _linked(one: Member, other: Member) -> bool:
    """Whether roots, tasks, ENDs or failures go from one to the other."""
    first, second = sorted((one, other), key=_place)
    if second.role == "sink":
        return first.role != "sink"
    if first.role == "broker":
        return second.stage == 0 or second.ordered
    further = second.stage == first.stage + 1 or (second.ordered and second.stage > first.stage)
    return first.pipeline == second.pipeline and further


def _place(member: Member) -> tuple[int, int]:
    return ("broker", "worker", "sink").index(member.role), member.stage
