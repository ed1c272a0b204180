"""Who is let in: members that have a link have to reach each other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.hosts import BOTH, IPC, hello, machine_on_a, member, numbered, problems
from zturbo.errors import DecodeError
from zturbo.slotted import replace
from zturbo.wire.control.codec import pack_control, read_request

FIRST = member("worker", 0, host="a", ends=IPC)


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
