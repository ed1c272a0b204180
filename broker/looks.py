"""Questions of clients that a node answers: what a process does now, or has done lately; or which ports of
another member its host reaches.

The broker hands them on, and the answers back. It keeps a bounded number of them, none in its ledger. A
client asks again where no answer comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo_broker.members.leases import Membership
from zturbo_broker.members.reach import far_ends

__all__ = ["Looks"]

MOST = 2000
"""Questions that wait for an answer at most."""

MOST_ENDS = 32
"""Addresses of one member that a node looks at."""

SLACK = 10.0
"""Seconds that a node may take for its answer, beyond those that it is to look."""


class _Asked(NamedTuple):
    who: bytes
    ref: int
    node: bytes
    until: float


class Looks:
    """The questions that wait for an answer.

    Args:
        members: tells the node of each member, and its addresses.
        say: sends a message to an identity.
    """

    def __init__(self, members: Membership, say: Callable[[bytes, Message], None]) -> None:
        self._members = members
        self._say = say
        self._asked: dict[int, _Asked] = {}
        self._numbers: dict[tuple[bytes, int], int] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, who: bytes, message: to_broker.Look, now: float) -> None:
        """A client asks. If it has asked the same before, that question still counts."""
        if len(self._asked) >= MOST or (who, message.ref) in self._numbers:
            self._forget_old(now)
        if (who, message.ref) in self._numbers:
            return
        node = self._members.node_of(message.target)
        of = None if message.of is None else self._members.view().members.get(message.of)
        if not node or (of is None and message.of is not None):
            self._refuse(who, message.ref, "UsageError", "there is no such process now: it has ended")
            return
        if len(self._asked) >= MOST:
            text = "too many questions about processes wait for their nodes; ask again in some seconds"
            self._refuse(who, message.ref, "BrokerUnavailable", text)
            return
        self._last = number = self._last + 1
        seconds = message.seconds if message.kind == "profile" else 0
        self._asked[number] = _Asked(who, message.ref, node, now + seconds + SLACK)
        self._numbers[who, message.ref] = number
        ends = () if of is None else far_ends(of)[:MOST_ENDS]
        question = from_broker.LookAt(
            number=number, target=message.target, kind=message.kind, seconds=message.seconds, ends=ends
        )
        self._say(node, question)

    def seen(self, message: to_broker.Seen) -> None:
        """A node answers; an answer to no question of this node counts for nothing."""
        asked = self._asked.get(message.number)
        if asked is None or asked.node != message.node:
            return
        self._forget(message.number)
        if message.error:
            self._refuse(asked.who, asked.ref, "UsageError", message.error)
        else:
            self._say(asked.who, from_broker.Ok(ref=asked.ref, value=answers.Seen(data=message.data)))

    def _refuse(self, who: bytes, ref: int, kind: str, text: str) -> None:
        self._say(who, from_broker.Error(ref=ref, kind=kind, message=text))

    def _forget_old(self, now: float) -> None:
        for number in [number for number, asked in self._asked.items() if asked.until <= now]:
            self._forget(number)

    def _forget(self, number: int) -> None:
        asked = self._asked.pop(number)
        del self._numbers[asked.who, asked.ref]
