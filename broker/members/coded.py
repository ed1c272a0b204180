"""Members by the code that they have: does a stage have workers of another code?"""

from __future__ import annotations

from collections.abc import Collection, Container

from zturbo.wire.control.view import Member

__all__ = ["Coded"]


class Coded:
    """The members of each stage, by code. However many there are, a question costs no more than codes."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, int], dict[str, dict[bytes, Member]]] = {}

    def add(self, member: Member) -> None:
        """A member has joined."""
        codes = self._all.setdefault((member.pipeline, member.stage), {})
        codes.setdefault(member.code, {})[member.incarnation] = member

    def remove(self, member: Member) -> None:
        """A member has left."""
        codes = self._all[member.pipeline, member.stage]
        del codes[member.code][member.incarnation]
        if not codes[member.code]:
            del codes[member.code]

    def other(self, member: Member, but: Container[bytes]) -> Member | None:
        """A worker of the same stage that has another code; None if there is none.

        Args:
            member: a worker, in the view or not.
            but: workers that do not count.
        """
        for code, here in self._all.get((member.pipeline, member.stage), {}).items():
            if code not in ("", member.code):
                for other in here.values():
                    if other.incarnation not in but:
                        return other
        return None

    def counted(self, pipeline: str, stage: int) -> dict[str, int]:
        """Code -> how many workers of a stage have it, of codes that are known."""
        codes = self._all.get((pipeline, stage), {})
        return {code: len(here) for code, here in codes.items() if code}

    def check(self, members: Collection[bytes]) -> None:
        """Assert that these members are here, and no others."""
        here = [inc for codes in self._all.values() for members in codes.values() for inc in members]
        assert sorted(here) == sorted(members)
