"""The code of workers that join: noted, compared with the others', and refused where a file wants that."""

from __future__ import annotations

from collections.abc import Set

from zturbo.core.effects import LogLine
from zturbo.wire.control.view import Member
from zturbo_broker.machine.known import Known
from zturbo_broker.members.reach import plain_host, plain_hosts

__all__ = ["NewcomersCode"]


class NewcomersCode:
    """Compares the code of a worker that joins with that of its stage's others.

    Args:
        known: the facts that all parts use.
        draining: members that are about to leave.
    """

    def __init__(self, known: Known, draining: Set[bytes]) -> None:
        self._known = known
        self._draining = draining

    def _other(self, member: Member, *, met: bool = True) -> Member | None:
        """A worker of the same stage that stays and has another code.

        Args:
            member: a worker.
            met: leave out those that have not said hello to this broker: they may be long dead.
        """
        membership = self._known.membership

        def counts(incarnation: bytes) -> bool:
            return incarnation not in self._draining and not (met and membership.unmet(incarnation))

        return membership.coded.other(member, counts)

    def unlike(self, member: Member, now: float) -> str | None:
        """Why a worker is refused whose code differs from its stage's, if the pipeline wants one code."""
        if not member.code or self._known.pipelines[member.pipeline].code != "same":
            return None
        other = self._other(member)
        if other is None:
            return None
        name = self._known.name_of(member)
        there, _ = plain_hosts(other, member)
        text = (
            f"its code is {member.code}, that of {name} on {there} {other.code}: bring the same "
            f"code to all hosts, or stop the workers with the other code first (or leave out code = "
            f'"same" of pipeline {member.pipeline})'
        )
        self._known.problems.refused(member.pipeline, member.stage, text, now)
        self._known.effects.append(LogLine("WARNING", name, b"", f"refused on {plain_host(member)}: {text}"))
        return text

    def awaits(self, member: Member) -> str | None:
        """Why a worker has to wait that is not refused: one with other code may come back within its lease,
        and the pipeline wants one code."""
        if not member.code or self._known.pipelines[member.pipeline].code != "same":
            return None
        other = self._other(member, met=False)
        if other is None:
            return None
        name, there = self._known.name_of(member), plain_host(other)
        return (
            f"it waits for {name} on {there}, which has other code and was there before the broker started "
            "again: for some seconds it may come back"
        )

    def joined(self, member: Member) -> None:
        """A worker has joined: note its code, and tell if others of its stage have another."""
        self._known.codes.saw(member)
        if not member.code or self._known.pipelines[member.pipeline].code == "any":
            return
        if (other := self._other(member)) is not None:
            name = self._known.name_of(member)
            here, there = plain_hosts(member, other)
            text = f"on {here} it has code {member.code}, on {there} {other.code}: no job goes to both"
            self._known.effects.append(LogLine("WARNING", name, b"", text))
