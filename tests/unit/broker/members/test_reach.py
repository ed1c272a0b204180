"""Members of two hosts need addresses that both reach; those that have no link with each other do not."""

from __future__ import annotations

import pytest

from tests.unit.broker.hosts import BOTH, IPC, member
from zturbo.wire.control.view import Member
from zturbo_broker.members import reach
from zturbo_broker.members.places import Places
from zturbo_broker.members.reach import plain_hosts, share_host, why_apart


def name(of: Member) -> str:
    assert of.role == "worker"
    return f"p.{of.stage}"


BROKER = member("broker", host="a", ends=IPC)
SINK = member("sink", host="a", ends=IPC)
FIRST = member("worker", 0, host="a", ends=IPC)
ORDERED = member("worker", 2, host="a", ends=IPC, ordered=True)


def told(new: Member, *others: Member) -> str | None:
    places = Places()
    for other in others:
        places.add(other)
    apart = places.apart(new)
    return None if apart is None else why_apart(new, apart, name)


@pytest.mark.parametrize(
    "other, stage",
    [(BROKER, 0), (SINK, 0), (SINK, 5), (FIRST, 1), (ORDERED, 0), (ORDERED, 1), (ORDERED, 3)],
)
def test_it_says_whom_to_start_with_an_address(other: Member, stage: int) -> None:
    who = name(other) if other.role == "worker" else f"the {other.role}"
    text = told(member("worker", stage, host="b", ends=BOTH), other)
    assert text is not None and text.startswith(f"{who} on a can be reached from its own host")
    assert f"start {who} with --insecure and --address" in text
    text = told(member("worker", stage, host="b", ends=IPC), other)
    assert text is not None and f"start p.{stage} with" in text
    assert told(member("worker", stage, host="a", ends=IPC), other) is None, "one host needs nothing"


@pytest.mark.parametrize("other, stage", [(BROKER, 1), (FIRST, 0), (FIRST, 2), (ORDERED, 4)])
def test_those_who_have_no_link(other: Member, stage: int) -> None:
    assert told(member("worker", stage, host="b", ends=BOTH), other) is None


def test_ends_of_feeds_go_from_the_broker_to_the_first_sequencer() -> None:
    sink = member("sink", host="b", ends=IPC)
    assert told(sink, BROKER) is not None and told(sink, FIRST) is not None
    assert told(sink, SINK) is None
    assert told(member("worker", 3, host="b", ends=BOTH, ordered=True), BROKER) is not None


def test_addresses_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    monkeypatch.setattr(reach, "is_loopback", lambda end: parsed.append(end))
    ends = [("ipc:///run/z/in", f"tcp://10.7.0.{number}:40001") for number in range(40)]
    members = [member("worker", at % 2, host=f"h{at}", ends=end) for at, end in enumerate(ends)]
    for new in members:
        assert told(new, *members) is None and not any(share_host(new, m) for m in members if m is not new)
    assert len(parsed) == len({*parsed}) == 40


def test_another_pipeline() -> None:
    other = Member(b"m" * 16, "worker", "q", 1, "a", IPC)
    assert told(member("worker", 0, host="b", ends=BOTH), other) is None


def test_hosts_have_their_plain_names_unless_two_have_one_name() -> None:
    one, twin, other = (
        member("worker", 0, host=host, ends=BOTH) for host in ("a-0123abcd-1", "a-0123abcd-2", "b-0123abcd-1")
    )
    assert plain_hosts(one, other) == ("a", "b")
    assert plain_hosts(one, twin) == ("a-0123abcd-1", "a-0123abcd-2")
    assert plain_hosts(one, one) == ("a", "a")
