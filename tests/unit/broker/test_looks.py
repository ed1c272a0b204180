"""Questions that the broker hands on to nodes."""

from __future__ import annotations

from typing import Any

from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo_broker.looks import MOST, SLACK, Looks
from zturbo_broker.members.leases import Membership

TARGET, LEFT, NODE, OTHER, CLIENT = (bytes([letter]) * 16 for letter in b"tlnoc")
ENDS = ("ipc:///x", "tcp://10.0.0.7:5000", "tcp://127.0.0.1:5000")
MEMBER = Member(TARGET, "sink", "", -1, "a", ENDS, ("tcp://10.0.0.7:5001",))


class Played:
    """The questions of a broker, and what it says."""

    def __init__(self) -> None:
        self.said: list[tuple[bytes, Any]] = []
        members = Membership(replace(MEMBER, incarnation=b"B" * 16, role="broker"), number=1, lease=5.0)
        members.restore([replace(MEMBER, incarnation=LEFT)], 0.0)  # its node is not known
        members.join(replace(MEMBER, incarnation=TARGET), NODE, 7, 0, 0.0)
        self.looks = Looks(members, lambda who, message: self.said.append((who, message)))

    def ask(self, ref: int, target: bytes = TARGET, now: float = 0.0) -> None:
        self.looks.ask(CLIENT, to_broker.Look(ref=ref, target=target, kind="profile", seconds=3), now)

    def seen(self, number: int, node: bytes = NODE, error: str = "") -> None:
        self.looks.seen(to_broker.Seen(node=node, number=number, data=b"d", error=error))


def test_a_question_goes_to_the_node_and_its_answer_to_the_client() -> None:
    one = Played()
    one.ask(7)
    one.ask(7)  # the client repeats it until it is answered
    (who, question), *rest = one.said
    assert who == NODE and not rest
    assert (question.target, question.kind, question.seconds) == (TARGET, "profile", 3)
    one.seen(question.number, OTHER)
    one.seen(question.number + 1)
    assert len(one.said) == 1, "answers to other nodes' questions count for nothing"
    one.seen(question.number)
    one.seen(question.number)
    ((who, answer),) = one.said[1:]
    assert (who, answer.ref, answer.value.data) == (CLIENT, 7, b"d")
    assert not len(one.looks)


def test_a_node_that_cannot_look_says_why() -> None:
    one = Played()
    one.ask(7)
    one.seen(one.said[0][1].number, error="it has ended")
    assert isinstance(one.said[1][1], from_broker.Error) and one.said[1][1].message == "it has ended"


def test_a_process_that_is_not_there_is_told_at_once() -> None:
    one = Played()
    one.ask(1, LEFT)
    one.ask(2, OTHER)
    assert [(who, type(said)) for who, said in one.said] == [(CLIENT, from_broker.Error)] * 2


def test_questions_are_bounded_and_forgotten_when_no_answer_comes() -> None:
    one = Played()
    for ref in range(MOST + 1):
        one.ask(ref)
    assert len(one.looks) == MOST and one.said[-1][1].kind == "BrokerUnavailable"
    one.ask(0, now=3 + SLACK)
    assert len(one.looks) == 1


def test_a_node_is_asked_for_the_ports_of_a_member_and_of_nothing_else() -> None:
    one = Played()
    one.looks.ask(CLIENT, to_broker.Look(ref=1, target=TARGET, kind="reach", of=LEFT), 0.0)
    ((who, question),) = one.said
    assert who == NODE and (question.kind, question.ends) == (
        "reach",
        ("tcp://10.0.0.7:5000", "tcp://10.0.0.7:5001"),
    )
    one.looks.ask(CLIENT, to_broker.Look(ref=2, target=TARGET, kind="reach", of=OTHER), 0.0)
    assert isinstance(one.said[1][1], from_broker.Error), "it is no member"
