"""How often a member says hello."""

from __future__ import annotations

from zturbo.core.hellos import A_SECOND, AWAKE, HELLO_EVERY, OFTEN, REST, Hellos


class Member:
    """A member that says hello as often as it is to."""

    def __init__(self, *, renewed: bool = True, among: int = 10) -> None:
        self.hellos = Hellos()
        self.among = among
        self.renewed = renewed
        self.now = 0.0

    def said(self, seconds: float, *, joined: bool = True) -> list[float]:
        """When it says hello in the next seconds."""
        said = []
        until = self.now + seconds
        while (at := max(self.now, self.hellos.at)) < until:
            self.now = at
            if self.hellos.due(at, joined=joined, renewed=self.renewed, members=self.among):
                said.append(at)
        self.now = until
        return said


def test_a_member_without_a_node_says_hello_each_second() -> None:
    assert len(Member(renewed=False).said(60)) == 60 / HELLO_EVERY


def test_one_that_has_not_joined_says_it_more_often() -> None:
    assert 9 <= len(Member().said(1, joined=False)) <= 11


def test_one_that_is_kept_out_says_it_each_second() -> None:
    member = Member()
    member.hellos.waits = True
    assert len(member.said(60, joined=False)) == 60 / HELLO_EVERY


def test_one_that_rests_says_it_seldom() -> None:
    assert len(Member().said(10 * REST)) == 10


def test_an_event_ends_the_rest_for_a_while() -> None:
    member = Member()
    member.said(REST / 2)
    member.hellos.event(member.now)
    assert len(member.said(AWAKE)) == AWAKE / HELLO_EVERY
    assert member.said(REST / 2) == []


def test_a_new_connection_and_a_broker_that_asks_get_a_hello_at_once() -> None:
    member = Member()
    member.said(REST / 2)
    now = member.now
    member.hellos.asked(now)
    assert member.said(2)[0] == now


def test_among_many_members_it_is_said_less_often_as_long_as_a_node_renews_the_lease() -> None:
    for among, pause in ((A_SECOND, 1), (5 * A_SECOND, 5), (1000 * A_SECOND, REST)):
        for renewed in (True, False):
            member = Member(among=among, renewed=renewed)
            said = []
            for _ in range(120):
                member.hellos.event(member.now)  # it works
                said += member.said(1)
            assert len(said) == 120 / (pause if renewed else HELLO_EVERY)


def test_one_that_is_asked_says_it_each_second_for_a_while() -> None:
    member = Member(among=20 * A_SECOND)
    member.said(50)
    member.hellos.asked(member.now)
    for _ in range(5):
        member.hellos.event(member.now)
        member.said(1)
    assert len(member.said(OFTEN - 5)) == OFTEN - 5
