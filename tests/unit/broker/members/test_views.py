"""Views that all members are sent: whole while they are small, else what has changed."""

from __future__ import annotations

import random

import pytest

from tests.unit.broker.hosts import BOTH, member, numbered
from zturbo.wire.control import from_broker
from zturbo.wire.control.codec import pack_control, read_answer
from zturbo.wire.control.view import Member, View, ViewChange
from zturbo_broker.members.leases import Membership
from zturbo_broker.members.views import LONGEST, Views

BROKER = Member(b"B" * 16, "broker", "", -1, "a", BOTH)


def worker(number: int) -> Member:
    return numbered(member("worker", 0, host="b", ends=BOTH), number)


def joined(membership: Membership, number: int) -> Member:
    new = worker(number)
    assert membership.join(new, b"n" * 16, 1, 0, 0.0)
    return new


def test_a_small_view_is_sent_whole_and_at_once() -> None:
    membership = Membership(BROKER, number=1, lease=5.0)
    views = Views(membership)
    assert not views.changed and not views.due(0.0) and views.deadline() is None
    joined(membership, 1)
    assert views.due(0.0)
    view, message = views.take(0.0)
    assert message == from_broker.NewView(view=view) and len(view.members) == 2
    joined(membership, 2)
    assert views.due(0.0) and views.behind(2) and not views.behind(3)


def test_changes_of_a_large_view_are_sent_together() -> None:
    membership = Membership(BROKER, number=1, lease=5.0)
    views = Views(membership, whole=2)
    for number in range(1, 4):
        joined(membership, number)
    views.take(0.0)
    four, five = joined(membership, 4), joined(membership, 5)
    membership.remove(five.incarnation)
    membership.remove(worker(1).incarnation)
    assert views.changed and not views.due(0.001)
    at = views.deadline()
    assert at is not None and 0.001 < at <= LONGEST and views.due(at)
    assert not views.behind(4) and not views.behind(5), "the change is on its way"
    assert views.behind(3) and views.behind(99), "it has missed one, or has another broker's"
    _, message = views.take(at)
    assert isinstance(message, from_broker.ViewChanges)
    left = (five.incarnation, worker(1).incarnation)
    assert message.change == ViewChange(4, 8, (four,), left)
    assert read_answer(pack_control(message)) == message


@pytest.mark.parametrize("seed", range(40))
def test_members_that_miss_some_changes_have_the_view_in_the_end(seed: int) -> None:
    dice = random.Random(seed)
    membership = Membership(BROKER, number=1, lease=5.0)
    views = Views(membership, whole=0)
    here: dict[bytes, View] = {}
    fetched = 0
    for step in range(200):
        if dice.random() < 0.6 or len(membership) < 3:
            new = joined(membership, step % 60 + 1) if worker(step % 60 + 1).incarnation not in here else None
            if new is not None:
                here[new.incarnation] = membership.view()  # its welcome
        else:
            gone = dice.choice(membership.members()).incarnation
            membership.remove(gone)
            here.pop(gone, None)
        if dice.random() < 0.4 and views.changed:
            present, message = views.take(float(step))
            for incarnation, view in here.items():
                if dice.random() < 0.2:
                    continue  # the message got lost
                if isinstance(message, from_broker.ViewChanges):
                    found = message.change.applied(view)
                    if found is None:
                        fetched += 1
                        found = membership.view()
                else:
                    found = present
                here[incarnation] = found
                assert list(found.members.items()) == list(present.members.items())
    assert fetched
