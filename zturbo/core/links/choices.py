"""The groups of workers that a sender may send to, and to which of them it has links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from zturbo.core.links.choice import Choice, chosen
from zturbo.core.links.outbatch import Destination
from zturbo.wire.control.view import Member
from zturbo.wire.messages import group

__all__ = ["Choices"]


class Choices:
    """The destinations of one sender.

    Args:
        me: incarnation of the sender.
        host: its host; peers with the same one are near.
        fanout: workers of one stage to which it has links; None for all of them.
        bounded: whether it has links to these alone, and to no others while tasks wait. They begin with the
            first task: while workers start, each view chooses others.
    """

    def __init__(self, me: bytes, host: str, fanout: int | None, *, bounded: bool = False) -> None:
        self._me = me
        self._host = host
        self._fanout = fanout
        self._bounded = bounded
        self.of: dict[Destination, Choice] = {}
        """The choice of each group that has more workers than this sender has links to."""

    def set_view(
        self, peers: Collection[Member], fellows: Collection[Member]
    ) -> tuple[dict[Destination, list[bytes]], list[bytes], list[bytes]]:
        """Take the members of a view.

        Args:
            peers: those that may get something.
            fellows: all members that send to the same peers, with this process.

        Returns:
            The members that may get what goes to each destination; those of them to which links are to be at
            once; and those that are not used any more.
        """
        kinds = Counter((member.role, member.stage) for member in peers)
        groups: dict[Destination, list[Member]] = {}
        at_once = []
        for member in peers:
            if member.role == "worker":
                for code in {"", member.code}:
                    workers = group(member.pipeline, member.stage, code)
                    groups.setdefault(workers, []).append(member)
            groups[member.incarnation] = [member]
            lazy = self._bounded and member.role == "worker"
            if not lazy and not self._is_large(kinds[member.role, member.stage]):
                at_once.append(member.incarnation)
        usable = {dest: [member.incarnation for member in members] for dest, members in groups.items()}
        before, self.of = self.of, {}
        me = next((member for member in fellows if member.incarnation == self._me), None)
        gone = []
        for dest, members in groups.items():
            if not self._is_large(len(members)):
                continue
            if me is None or members[0].ordered or members[0].stage != me.stage + 1:
                usable[dest] = []  # nothing goes there, or to one worker in particular
                continue
            assert self._fanout is not None
            choice = self.of[dest] = before.get(dest) or Choice(self._me)
            used = choice.used
            some = chosen(me, fellows, members, self._fanout)
            if self._bounded:
                members = [member for member in members if member.incarnation in some]
            choice.set_members(some, members, self._host)
            gone += [peer for peer in used if peer not in choice.used]
            if not self._bounded:
                at_once += choice.used
            usable[dest] = choice.used
        return usable, at_once, gone

    def _is_large(self, members: int) -> bool:
        return self._fanout is not None and members > self._fanout
