"""Whether those who have a link reach each other: on one host over ipc, on two over tcp, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zturbo.wire.control import Member

__all__ = ["out_of_reach"]


def out_of_reach(member: Member, others: Iterable[Member], name: Callable[[Member], str]) -> str | None:
    """Why this member cannot work with one of the others, and what to do; None if it can with all.

    Without this, tasks that are sent to it, or its word on them, would never arrive, and one of the two
    would be taken out of the view again and again.

    Args:
        member: who joins.
        others: who is there.
        name: of a member, for people.
    """
    for other in others:
        if other.host == member.host or not _linked(member, other):
            continue
        for deaf, far in ((member, other), (other, member)):
            if not any(endpoint.startswith("tcp:") for endpoint in deaf.endpoints):
                who, whom = (name(m) if m.role == "worker" else f"the {m.role}" for m in (deaf, far))
                return (
                    f"{who} on {deaf.host} can be reached from its own host alone, and {whom} is on "
                    f"{far.host}: start {who} with --insecure, and with --address if other hosts reach it "
                    "by another address than that on its way to the broker"
                )
    return None


def _linked(one: Member, other: Member) -> bool:
    """Whether tasks, ENDs or failures go from one to the other."""
    first, second = sorted((one, other), key=_place)
    if second.role == "sink":
        return first.role == "worker"
    if first.role == "broker":
        return second.stage == 0
    further = second.stage == first.stage + 1 or (second.ordered and second.stage > first.stage)
    return first.pipeline == second.pipeline and further


def _place(member: Member) -> tuple[int, int]:
    return ("broker", "worker", "sink").index(member.role), member.stage
