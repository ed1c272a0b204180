"""The code of workers that join: noted, compared with the others', and refused where a file wants that."""

from __future__ import annotations

from collections.abc import Set

from zturbo.core.effects import LogLine
from zturbo.wire.control.view import Member
from zturbo_broker.machine.known import Known

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

    def _others(self, member: Member) -> list[Member]:
        """Workers of the same stage that stay and have another code."""
        return [
            other
            for other in self._known.membership.members(member.pipeline, member.stage)
            if other.code not in ("", member.code) and other.incarnation not in self._draining
        ]

    def unlike(self, member: Member, now: float) -> str | None:
        """Why a worker is refused whose code differs from its stage's, if the pipeline wants one code."""
        if not member.code or self._known.pipelines[member.pipeline].code != "same":
            return None
        others = self._others(member)
        if not others:
            return None
        name = self._known.name_of(member)
        text = (
            f"its code is {member.code}, that of {name} on {others[0].host} {others[0].code}: bring the same "
            f"code to all hosts, or stop the workers with the other code first (or leave out code = "
            f'"same" of pipeline {member.pipeline})'
        )
        self._known.problems.refused(member.pipeline, member.stage, text, now)
        self._known.effects.append(LogLine("WARNING", name, b"", f"refused on {member.host}: {text}"))
        return text

    def joined(self, member: Member) -> None:
        """A worker has joined: note its code, and tell if others of its stage have another."""
        self._known.codes.saw(member)
        if not member.code or self._known.pipelines[member.pipeline].code == "any":
            return
        if others := self._others(member):
            name = self._known.name_of(member)
            text = (
                f"on {member.host} it has code {member.code}, on {others[0].host} {others[0].code}: "
                "no job goes to both"
            )
            self._known.effects.append(LogLine("WARNING", name, b"", text))
