"""Members of two hosts need addresses that both reach; those that have no link with each other do not."""

from __future__ import annotations

import pytest

from broker.reach import out_of_reach
from zturbo.wire.control import Member

BOTH = ("ipc:///x", "tcp://10.0.0.1:7000")
IPC = ("ipc:///x",)


def member(role: str, stage: int = -1, *, host: str, ends: tuple[str, ...], ordered: bool = False) -> Member:
    pipeline = "p" if role == "worker" else ""
    return Member(b"m" * 16, role, pipeline, stage, host, ends, ordered=ordered)


def name(of: Member) -> str:
    assert of.role == "worker"
    return f"p.{of.stage}"


BROKER = member("broker", host="a", ends=IPC)
SINK = member("sink", host="a", ends=IPC)
FIRST = member("worker", 0, host="a", ends=IPC)
ORDERED = member("worker", 2, host="a", ends=IPC, ordered=True)


@pytest.mark.parametrize(
    "other, stage",
    [(BROKER, 0), (SINK, 0), (SINK, 5), (FIRST, 1), (ORDERED, 0), (ORDERED, 1), (ORDERED, 3)],
)
def test_it_says_whom_to_start_with_an_address(other: Member, stage: int) -> None:
    new = member("worker", stage, host="b", ends=BOTH)
    problem = out_of_reach(new, [other], name)
    who = name(other) if other.role == "worker" else f"the {other.role}"
    assert problem is not None and problem.startswith(f"{who} on a can be reached from its own host")
    assert f"start {who} with --insecure" in problem
    deaf = member("worker", stage, host="b", ends=IPC)
    problem = out_of_reach(deaf, [other], name)
    assert problem is not None and f"start p.{stage} with" in problem
    here = member("worker", stage, host="a", ends=IPC)
    assert out_of_reach(here, [other], name) is None, "one host needs nothing"


@pytest.mark.parametrize("other, stage", [(BROKER, 1), (FIRST, 0), (FIRST, 2), (ORDERED, 4)])
def test_those_who_have_no_link(other: Member, stage: int) -> None:
    assert out_of_reach(member("worker", stage, host="b", ends=BOTH), [other], name) is None


def test_a_sink_and_a_broker_and_two_sinks() -> None:
    sink = member("sink", host="b", ends=IPC)
    assert out_of_reach(sink, [BROKER, SINK], name) is None
    assert out_of_reach(sink, [FIRST], name) is not None


def test_another_pipeline() -> None:
    other = Member(b"m" * 16, "worker", "q", 1, "a", IPC)
    assert out_of_reach(member("worker", 0, host="b", ends=BOTH), [other], name) is None
