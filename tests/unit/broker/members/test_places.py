"""Whom a newcomer is tried with, and whom it cannot work with: told without a look at all members."""

from __future__ import annotations

from collections import Counter

from tests.unit.broker.hosts import BOTH, IPC, member, numbered
from zturbo.slotted import replace
from zturbo.wire.control.view import Member
from zturbo_broker.members.places import Places


def places(*members: Member) -> Places:
    found = Places()
    for one in members:
        found.add(one)
    found.check(members)
    return found


def many(n: int, stage: int, per_host: int = 10) -> list[Member]:
    return [
        replace(
            member("worker", stage, host=f"{stage}-{k // per_host}", ends=BOTH),
            incarnation=bytes([stage, 0]) + k.to_bytes(14, "big"),
        )
        for k in range(n)
    ]


def test_a_hundred_newcomers_are_tried_with_a_few_each() -> None:
    sink = numbered(member("sink", host="a", ends=BOTH), 200)
    there = places(*many(100, 0), sink)
    loads: Counter[bytes] = Counter()
    for new in many(100, 1):
        chosen = there.choose(new, 8)
        assert chosen[0] == sink
        assert len({one.host for one in chosen}) == len(chosen) == 8
        loads.update(one.incarnation for one in chosen)
    assert loads.pop(sink.incarnation) == 100
    assert sum(loads.values()) == 700 and max(loads.values()) <= 8, "and no worker with many"


def test_where_there_are_few_hosts_more_members_of_each_are_chosen() -> None:
    there = places(*many(40, 0, per_host=20))
    (new,) = many(1, 1)
    first = there.choose(new, 8)
    assert Counter(one.host for one in first) == {"0-0": 4, "0-1": 4} or len({*first}) == 8
    second = there.choose(new, 8, {one.incarnation for one in first})
    assert len({one.incarnation for one in (*first, *second)}) == 16


def test_only_links_between_hosts_are_tried() -> None:
    new = numbered(member("worker", 1, host="a", ends=BOTH), 1)
    beside = numbered(member("worker", 0, host="a", ends=BOTH), 2)
    peer = numbered(member("worker", 1, host="b", ends=BOTH), 3)
    assert places(beside, peer).choose(new, 8) == []


def test_hosts_with_one_name_and_addresses_of_their_own_are_two() -> None:
    new = numbered(member("worker", 1, host="a", ends=BOTH), 1)
    namesake = numbered(member("worker", 0, host="a", ends=("ipc:///x", "tcp://10.0.0.2:7000")), 2)
    private = numbered(member("worker", 0, host="a", ends=("ipc:///x", "tcp://127.0.0.1:7000")), 3)
    assert places(namesake, private).choose(new, 8) == [namesake]


def test_the_first_that_cannot_be_reached_is_told() -> None:
    confined = [numbered(member("worker", 0, host=host, ends=IPC), k) for k, host in enumerate("bcd")]
    there = places(*confined)
    new = numbered(member("worker", 1, host="a", ends=BOTH), 10)
    assert there.apart(new) == confined[0]
    there.remove(confined[0])
    assert there.apart(new) == confined[1]
    assert there.apart(replace(new, host="c")) == confined[2], "those of one host need no address"
    for one in confined[1:]:
        there.remove(one)
    assert there.apart(new) is None


def test_an_earlier_sink_on_ones_own_spool_is_no_matter() -> None:
    old = replace(numbered(member("sink", host="b", ends=IPC), 1), spool=b"s")
    worker = numbered(member("worker", 0, host="a", ends=BOTH), 2)
    assert places(old).apart(worker) == old
    assert places(old).apart(replace(worker, role="sink", stage=-1, spool=b"s")) is None


def test_a_newcomer_is_compared_with_few_members_however_many_there_are() -> None:
    steps = []
    for count in (1000, 4000):
        there = places(*many(count, 0, per_host=16), *many(count, 2, per_host=16))
        there.steps = 0
        for new in many(100, 1):
            assert there.apart(new) is None and len(there.choose(new, 8)) == 8
        steps.append(there.steps)
    assert steps[0] == steps[1] < 100 * 40
