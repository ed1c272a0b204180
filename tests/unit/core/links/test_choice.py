"""Which workers of a large stage a sender sends to."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from zturbo.core.links.choice import KEEP, PATIENCE, TRY_AFTER, Choice, chosen
from zturbo.wire.control.view import Member


def stage(index: int, count: int, hosts: int = 1, seed: int = 0) -> list[Member]:
    rng = random.Random(f"{seed} {index}")
    return [
        Member(rng.randbytes(16), "worker", "p", index, f"host-{k % hosts}", ("ipc:///x",))
        for k in range(count)
    ]


@pytest.mark.parametrize(
    ("senders", "receivers"), [(1, 64), (3, 64), (7, 10), (64, 64), (64, 7), (10, 1000), (1000, 10)]
)
@pytest.mark.parametrize("hosts", [1, 4])
def test_each_worker_is_chosen_and_none_by_many(senders: int, receivers: int, hosts: int) -> None:
    froms, to = stage(0, senders, hosts), stage(1, receivers, hosts)
    sizes, counts = [], Counter({member.incarnation: 0 for member in to})
    for me in froms:
        some = chosen(me, froms, to, 6)
        assert len({*some}) == len(some)
        assert some == chosen(me, froms[::-1], to[::-1], 6), "it depends on no order"
        sizes.append(len(some))
        counts.update(some)
    assert min(counts.values()) >= 1, "nobody is left out"
    assert max(sizes) <= max(6, -(-receivers // senders) + 3)
    fair = sum(sizes) / receivers
    if hosts == 1:
        assert max(counts.values()) <= fair + senders / receivers + 1
    assert max(counts.values()) <= 2 * fair + 2


def test_near_workers_have_half_of_the_places() -> None:
    froms, to = stage(0, 64, 8), stage(1, 64, 8)
    where = {member.incarnation: member.host for member in to}
    for me in froms:
        some = chosen(me, froms, to, 6)
        assert sum(where[peer] == me.host for peer in some) >= 3
        assert sum(where[peer] != me.host for peer in some) >= 1


def test_a_death_changes_little() -> None:
    froms, to = stage(0, 64), stage(1, 64)
    for lost in (froms[10], to[20]):
        senders, receivers = ([one for one in some if one is not lost] for some in (froms, to))
        for me in senders:
            before, after = {*chosen(me, froms, to, 6)}, {*chosen(me, senders, receivers, 6)}
            assert len(after - before) <= 2


def made(count: int = 6, most: int = 2) -> tuple[Choice, list[bytes]]:
    """A choice of the only sender's, of workers of whom it has chosen two, and the others in their order."""
    workers = stage(1, count)
    choice = Choice(b"m" * 16)
    choice.set_members([member.incarnation for member in workers[:most]], workers, "host-0")
    return choice, choice.members[most:]


def test_while_tasks_wait_others_are_tried_ever_more_seldom() -> None:
    choice, spare = made()
    choice.waits(0.0)
    assert choice.next(0.0) is None, "credit may come at any moment"
    at, times = 0.0, []
    for peer in spare:
        at = choice.deadline()
        times.append(at)
        assert choice.next(at) == peer
        assert not choice.answered(free=False, now=at)
        choice.sent(at)
    assert [round(b - a, 3) for a, b in zip([0.0, *times], times, strict=False)] == [0.1, 0.1, 0.2, 0.4]
    assert choice.next(choice.deadline()) == spare[0], "then again from the first"
    choice.rests()
    assert choice.deadline() == float("inf") and choice.next(1e9) is None


def test_those_that_are_free_are_used_at_once() -> None:
    choice, spare = made()
    choice.waits(0.0)
    for peer in spare:
        assert choice.next(TRY_AFTER) == peer
        assert choice.answered(free=True, now=TRY_AFTER)
    assert choice.used[2:] == spare and choice.next(1e9) is None
    choice.check()


def test_one_that_has_work_is_used_if_nothing_could_be_sent_for_long() -> None:
    choice, _ = made()
    choice.waits(0.0)
    first = choice.next(PATIENCE)
    assert choice.answered(free=False, now=PATIENCE)
    assert choice.used[2:] == [first]
    choice.next(choice.deadline())
    assert not choice.answered(free=False, now=1.5 * PATIENCE), "one at a time"
    assert choice.answered(free=True, now=9.0) is False, "nobody was asked"


def test_additional_workers_are_let_go_one_by_one() -> None:
    choice, spare = made()
    choice.waits(0.0)
    for _ in spare:
        choice.next(TRY_AFTER)
        choice.answered(free=True, now=TRY_AFTER)
    choice.rests()
    at = choice.deadline()
    assert at == TRY_AFTER + KEEP and choice.drop(at - 0.1) == []
    dropped = []
    while (at := choice.deadline()) < float("inf"):
        dropped.append(choice.drop(at))
        assert choice.drop(at) == []
        choice.check()
    assert dropped == [[peer] for peer in spare] and at > TRY_AFTER + KEEP + 3
    assert len(choice.used) == 2


def test_a_view_takes_out_those_that_are_gone() -> None:
    workers = stage(1, 6)
    choice, spare = made()
    choice.waits(0.0)
    choice.next(TRY_AFTER)
    choice.answered(free=True, now=TRY_AFTER)
    asked = choice.next(TRY_AFTER)
    left = [member for member in workers if member.incarnation not in (spare[0], asked)]
    choice.set_members([left[0].incarnation, left[-1].incarnation], left, "host-0")
    choice.check()
    assert {*choice.members} == {member.incarnation for member in left} and choice.tried is None
    assert not choice.answered(free=True, now=1.0)


def test_near_workers_are_tried_first() -> None:
    workers = stage(1, 40, hosts=4)
    choice = Choice(b"m" * 16)
    choice.set_members([workers[0].incarnation], workers, "host-2")
    where = {member.incarnation: member.host for member in workers}
    hosts = [where[peer] for peer in choice.members[1:]]
    assert hosts[:10] == ["host-2"] * 10 and "host-2" not in hosts[10:]
