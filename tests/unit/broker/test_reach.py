"""Members of two hosts need addresses that both reach; those that have no link with each other do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zturbo.core.effects import Control, Reply
from zturbo.errors import DecodeError
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_request
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine
from zturbo_broker.members.reach import out_of_reach

BOTH = ("ipc:///x", "tcp://10.0.0.1:7000")
IPC = ("ipc:///x",)


def member(role: str, stage: int = -1, *, host: str, ends: tuple[str, ...], ordered: bool = False) -> Member:
    pipeline = "p" if role == "worker" else ""
    results = ("tcp://127.0.0.1:7001",) if role == "sink" else ()
    return Member(b"m" * 16, role, pipeline, stage, host, ends, results, ordered=ordered)


def name(of: Member) -> str:
    assert of.role == "worker"
    return f"p.{of.stage}"


BROKER = member("broker", host="a", ends=IPC)
SINK = member("sink", host="a", ends=IPC)
FIRST = member("worker", 0, host="a", ends=IPC)
ORDERED = member("worker", 2, host="a", ends=IPC, ordered=True)


def told(new: Member, *others: Member) -> str | None:
    apart = out_of_reach(new, others, name)
    return None if apart is None else apart.text


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


def test_another_pipeline() -> None:
    other = Member(b"m" * 16, "worker", "q", 1, "a", IPC)
    assert told(member("worker", 0, host="b", ends=BOTH), other) is None


# -- who is let in ----------------------------------------------------------------------------------
def machine_on_a() -> BrokerMachine:
    me = Member(b"B" * 16, "broker", "", -1, "a", BOTH)
    return BrokerMachine(me, [PipelineInfo("p", ["x", "y"])], view=1, version="1")


def hello(machine: BrokerMachine, who: Member, now: float = 0.0, view: int = 0) -> str | None:
    """Why it is refused; None if it is not."""
    machine.effects.clear()
    message = to_broker.Hello(
        member=who,
        node=b"n" * 16,
        pid=1,
        protocol=PROTOCOL,
        version="1",
        python="3",
        stage="xy"[who.stage] if who.role == "worker" else "",
        code="",
        view=view,
        jobs=(),
    )
    machine.control(who.incarnation, message, now)
    said = [e.message for e in machine.effects if isinstance(e, Control) and e.to == who.incarnation]
    return next((message.reason for message in said if isinstance(message, from_broker.Refused)), None)


def problems(machine: BrokerMachine, now: float = 0.0) -> dict[str, str]:
    machine.effects.clear()
    machine.control(b"c" * 16, to_broker.Jobs(ref=1, job=None, over=()), now)
    (answer,) = [effect.message for effect in machine.effects if isinstance(effect, Reply)]
    assert isinstance(answer, from_broker.Ok)
    found: dict[str, str] = answer.value.pipelines[0].problems
    return found


def numbered(who: Member, number: int) -> Member:
    return replace(who, incarnation=bytes([number]) * 16)


def test_who_is_refused_is_told_in_jobs_until_it_is_let_in_or_gone() -> None:
    machine = machine_on_a()
    deaf = numbered(member("worker", 0, host="b", ends=IPC), 1)
    assert "start p.x with" in str(hello(machine, deaf))
    assert "start p.x with" in problems(machine)["x"]
    assert not problems(machine, 61.0), "it did not come again"
    hello(machine, deaf, 100.0)
    assert problems(machine, 101.0)
    assert hello(machine, numbered(member("worker", 0, host="b", ends=BOTH), 2), 102.0) is None
    assert not problems(machine, 102.0)
    sink = numbered(member("sink", host="b", ends=IPC), 3)
    assert "start the sink with" in str(hello(machine, sink, 103.0))
    assert "start the sink with" in problems(machine, 103.0)["sink"]


def test_members_of_the_broker_before_keep_nobody_out() -> None:
    """After a power cut the ledger has members of the host as it was before: it has another name now."""
    machine = machine_on_a()
    old = [numbered(member("worker", 0, host="a before", ends=IPC), 1)]
    old.append(replace(numbered(member("sink", host="a before", ends=IPC), 2), spool=b"spool"))
    machine.restore(old, [], 0.0)
    assert hello(machine, numbered(member("worker", 1, host="a", ends=IPC), 3)) is None
    sink = replace(numbered(member("sink", host="a", ends=IPC), 4), spool=b"spool")
    assert hello(machine, sink) is None
    assert machine.membership.get(old[1].incarnation) is None, "a spool has one sink"


@pytest.mark.parametrize("ends", [IPC, BOTH])
@pytest.mark.parametrize("strays", [IPC, BOTH])
def test_a_stray_process_elsewhere_does_not_keep_out_those_beside_the_broker(
    strays: tuple[str, ...], ends: tuple[str, ...]
) -> None:
    machine = machine_on_a()
    stray = numbered(member("worker", 1, host="b", ends=strays), 1)
    assert hello(machine, stray) is None
    first = numbered(member("worker", 0, host="a", ends=ends), 2)
    assert hello(machine, first) is None
    if strays == ends == BOTH:
        assert machine.membership.get(stray.incarnation) is not None and not problems(machine)
        return
    assert machine.membership.get(stray.incarnation) is None
    assert f"start {'p.y' if ends == BOTH else 'p.x'} with" in problems(machine)["y"]
    again = str(hello(machine, numbered(stray, 3)))
    assert f"start {'p.y' if strays == IPC else 'p.x'} with" in again, "and it does not come in again"


def test_whoever_is_beside_the_broker_stays() -> None:
    machine = machine_on_a()
    second = numbered(member("worker", 1, host="a", ends=IPC), 1)
    assert hello(machine, second) is None
    assert "start p.y with" in str(hello(machine, numbered(member("worker", 0, host="b", ends=BOTH), 2)))
    assert machine.membership.get(second.incarnation) is not None


def test_who_has_work_elsewhere_is_not_taken_out_for_a_newcomer() -> None:
    machine = machine_on_a()
    there = [
        numbered(member("worker", 0, host="b", ends=BOTH), 1),
        numbered(member("worker", 1, host="b", ends=IPC), 2),
        numbered(member("sink", host="b", ends=BOTH), 3),
    ]
    assert [hello(machine, each) for each in there] == [None] * 3
    assert "start p.y with" in str(hello(machine, numbered(member("worker", 0, host="a", ends=BOTH), 4)))
    assert machine.membership.members() == there


def test_who_came_while_the_broker_was_away_does_not_keep_out_who_was_there_before() -> None:
    machine = machine_on_a()
    before = numbered(member("worker", 0, host="c", ends=BOTH), 1)
    machine.restore([before], [], 0.0)
    stray = numbered(member("worker", 1, host="b", ends=IPC), 2)
    assert hello(machine, stray) is None
    assert hello(machine, before, view=1) is None
    assert machine.membership.members() == [before]


def test_a_sink_without_an_address_for_results_is_refused() -> None:
    for results in ((), ("tcp://[::1:5",), ("here",)):
        sink = replace(numbered(member("sink", host="a", ends=IPC), 1), results=results)
        assert "a sink gives results at tcp://HOST:PORT" in str(hello(machine_on_a(), sink))


def test_a_view_below_zero() -> None:
    sent: list[Any] = []
    machine = machine_on_a()
    machine.control = lambda who, message, now: sent.extend(pack_control(message))  # type: ignore[method-assign]
    hello(machine, numbered(FIRST, 1), view=-1)
    with pytest.raises(DecodeError, match="view"):
        read_request(sent)
