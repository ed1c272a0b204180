"""Why members do not start or are refused, as `zturbo jobs` tells it."""

from __future__ import annotations

from tests.unit.broker.hosts import BOTH, IPC, hello, machine_on_a, member, numbered, problems
from zturbo_broker.members.problems import Problems


def test_who_is_refused_is_told_in_jobs_until_it_is_let_in_or_gone() -> None:
    machine = machine_on_a()
    deaf = numbered(member("worker", 0, host="b", ends=IPC), 1)
    assert "start p.x with" in str(hello(machine, deaf))
    assert "start p.x with" in problems(machine)["x"]
    assert not problems(machine, 61.0), "it did not come again"
    hello(machine, deaf, 100.0)
    assert problems(machine, 101.0)
    assert hello(machine, numbered(member("worker", 0, host="b", ends=BOTH), 2), 102.0) is None
    assert problems(machine, 102.0), "the first one is still kept out"
    assert not problems(machine, 106.0), "it did not come again"
    sink = numbered(member("sink", host="b", ends=IPC), 3)
    assert "start the sink with" in str(hello(machine, sink, 103.0))
    assert "start the sink with" in problems(machine, 103.0)["sink"]


def test_each_process_that_is_kept_out_is_told_of_until_it_is_let_in_or_silent() -> None:
    told = Problems()
    first, second = (numbered(member("worker", 0, host="b", ends=BOTH), k) for k in (1, 2))
    told.kept_out(first, "one", 5.0)
    told.kept_out(second, "two", 9.0)
    assert told.of("p", 0, 1.0) == "two (and 1 more)"
    told.over("p", 0)  # another worker of the stage has joined
    assert told.of("p", 0, 6.0) == "two" and told.of("p", 1, 6.0) is None
    told.let_in(second.incarnation)
    assert told.of("p", 0, 1.0) == "one"
    told.failed("p", 0, "it raised")
    assert told.of("p", 0, 1.0) == "it raised"


def test_who_is_given_up_is_told_of_while_no_other_tells_more() -> None:
    told = Problems()
    waits = numbered(member("worker", 0, host="b", ends=BOTH), 1)
    told.given_up("p", 0, "never", 0.0, others=False)
    assert told.of("p", 0, 1e6) == "never" and told.of("p", 1, 0.0) is None
    told.kept_out(waits, "one", 5.0)
    assert told.of("p", 0, 1.0) == "one"
    told.let_in(waits.incarnation)
    assert told.of("p", 0, 1.0) == "never"
    told.over("p", 0)
    assert told.of("p", 0, 1.0) is None
    told.given_up("p", 0, "never", 0.0, others=True)
    assert told.of("p", 0, 59.0) == "never" and told.of("p", 0, 61.0) is None
