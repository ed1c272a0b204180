"""Broken links: who is taken out, and who is busy only."""

from __future__ import annotations

import math

import pytest

from zturbo_broker.members.complaints import UNCLEAR, Complaints

LEASE = 5.0


class Hearing:
    """A membership in which everybody says hello each second, but for those that are silent."""

    def __init__(self, *members: bytes, lease: float = LEASE) -> None:
        self.heard: dict[bytes, float] = dict.fromkeys(members, 0.0)
        self.complaints = Complaints(lease, self.heard.get)
        self.now = 0.0

    def second(self, *pairs: tuple[bytes, bytes], silent: bytes = b"") -> list[tuple[bytes, bytes]]:
        """One second passes: hellos, and then complaints, (who, about whom). Returns the overdue ones."""
        self.now += 1.0
        for member in self.heard:
            if member != silent:
                self.heard[member] = self.now
        for who, about in pairs:
            self.complaints.add(who, about, self.now)
        return self.complaints.overdue(self.now)


def test_a_link_that_was_broken_for_a_lease_is_overdue_until_that_is_settled() -> None:
    hearing = Hearing(b"a", b"b")
    out = [hearing.second((b"a", b"b")) for _ in range(6)]
    assert out == [[]] * 5 + [[(b"a", b"b")]]
    hearing.complaints.settle(b"b")
    assert hearing.complaints.overdue(hearing.now) == []
    assert hearing.complaints.deadline() is None, "that is settled"


def test_what_is_settled_leaves_the_complaints_of_others() -> None:
    hearing = Hearing(b"a", b"b", b"c", b"d")
    pairs = [(b"a", b"b"), (b"c", b"d"), (b"d", b"a")]
    assert [hearing.second(*pairs) for _ in range(6)][-1] == pairs
    hearing.complaints.settle(b"a")
    assert hearing.complaints.overdue(hearing.now) == [(b"c", b"d")]


def test_a_slow_end_has_more_time_and_the_log_has_a_complaint_once() -> None:
    hearing = Hearing(b"a", b"b")
    pair = (b"a", b"b")
    slow = [hearing.second(pair) and hearing.complaints.outlasts(*pair, hearing.now) for _ in range(31)]
    assert UNCLEAR * LEASE == 30.0 and slow[5:] == [False] * 25 + [True]
    assert [hearing.complaints.to_tell(*pair) for _ in range(3)] == [True, False, False]


def test_a_complaint_that_is_not_repeated_is_over() -> None:
    hearing = Hearing(b"a", b"b")
    for _ in range(5):
        hearing.second((b"a", b"b"))
    for _ in range(3):
        hearing.second()
    assert [hearing.second((b"a", b"b")) for _ in range(5)] == [[]] * 5


@pytest.mark.parametrize("lease", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("seconds", [1, 2, 3, 4, 5, 60])
def test_who_holds_the_interpreter_is_busy(lease: float, seconds: int) -> None:
    """He answers nobody and says no hello; then he does, and a complaint may still be on its way."""
    hearing = Hearing(b"a", b"b", lease=lease)
    hearing.second()
    hearing.second(silent=b"b")
    out = [hearing.second((b"a", b"b"), silent=b"b") for _ in range(seconds)]
    out += [hearing.second((b"a", b"b")), hearing.second(), hearing.second(), hearing.second()]
    assert out == [[]] * (seconds + 4)


def test_nothing_is_due_while_somebody_is_silent() -> None:
    """Or the broker would not sleep."""
    hearing = Hearing(b"a", b"b")
    for _ in range(60):
        hearing.second((b"a", b"b"), silent=b"b")
        assert hearing.complaints.deadline() is None or hearing.complaints.deadline() > hearing.now


def test_strangers_have_no_say() -> None:
    hearing = Hearing(b"a", b"b")
    pairs = [(b"x", b"b"), (b"a", b"x")]
    assert [hearing.second(*pairs) for _ in range(10)] == [[]] * 10
    del hearing.heard[b"a"]
    assert [hearing.second((b"a", b"b")) for _ in range(10)] == [[]] * 10


def test_the_broker_may_complain_and_is_always_heard() -> None:
    hearing = Hearing(b"a")
    hearing.heard[b"B"] = math.inf
    out = [hearing.second((b"B", b"a"), (b"a", b"B"), silent=b"B") for _ in range(6)]
    assert out[-1] == [(b"B", b"a"), (b"a", b"B")]


def test_one_that_rests_is_asked_for_a_hello_and_the_complaint_counts_from_there() -> None:
    hearing = Hearing(b"a", b"b")
    for _ in range(20):
        hearing.second(silent=b"b")
    hearing.now += 1.0
    assert hearing.complaints.add(b"a", b"b", hearing.now), "it is asked"
    assert not hearing.complaints.add(b"a", b"b", hearing.now), "once"
    hearing.heard[b"b"] = hearing.now + 0.1
    out = [hearing.second((b"a", b"b")) for _ in range(5)]
    assert out == [[]] * 4 + [[(b"a", b"b")]]


def test_one_that_answers_late_was_busy() -> None:
    hearing = Hearing(b"a", b"b")
    for _ in range(20):
        hearing.second(silent=b"b")
    out = [hearing.second((b"a", b"b"), silent=b"b") for _ in range(3)]
    out += [hearing.second((b"a", b"b")) for _ in range(5)]
    assert out == [[]] * 8


def test_a_link_that_is_being_tried_is_looked_at_again_a_little_later() -> None:
    hearing = Hearing(b"a", b"b")
    for _ in range(5):
        hearing.second((b"a", b"b"))
    now = hearing.now = hearing.now + 1.0
    hearing.heard = dict.fromkeys(hearing.heard, now)
    hearing.complaints.add(b"a", b"b", now)
    assert hearing.complaints.overdue(now) == [(b"a", b"b")]
    hearing.complaints.postpone(now)
    later = hearing.complaints.deadline()
    assert later is not None and now < later < now + 1.0, "or the broker would not sleep, or not wake"
    hearing.complaints.settle(b"b")
    assert hearing.complaints.overdue(now) == [] and hearing.complaints.deadline() is None
