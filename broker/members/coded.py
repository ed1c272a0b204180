"""Members by the code that they have: does a stage have workers of another code?"""

from __future__ import annotations

from collections.abc import Callable, Collection

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

    def other(self, member: Member, counts: Callable[[bytes], bool]) -> Member | None:
        """A worker of the same stage that has another code; None if there is none.

        Args:
            member: a worker, in the view or not.
            counts: whether a worker counts.
        """
        for code, here in self._all.get((member.pipeline, member.stage), {}).items():
            if code not in ("", member.code):
                for other in here.values():
                    if counts(other.incarnation):
                        return other
        return None

    def counted(self, pipeline: str, stage: int, counts: Callable[[bytes], bool]) -> dict[str, int]:
        """Code -> how many workers of a stage have it, of codes that are known.

        Args:
            pipeline: its name.
            stage: its index.
            counts: whether a worker counts.
        """
        found = {
            code: sum(map(counts, here))
            for code, here in self._all.get((pipeline, stage), {}).items()
            if code
        }
        return {code: number for code, number in found.items() if number}

    def check(self, members: Collection[bytes]) -> None:
        """Assert that these members are here, and no others."""
        here = [inc for codes in self._all.values() for members in codes.values() for inc in members]
        assert sorted(here) == sorted(members)
