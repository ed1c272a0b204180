"""What clients ask of a broker, and what they are answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.driven import (
    CLIENT,
    answers,
    broker,
    cancel,
    hello,
    sink,
    submit,
    worker,
)
from zturbo.core.effects import Confirm, Control, Record
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member


def test_what_was_decided_is_recorded_before_it_is_said() -> None:
    machine = broker()
    submit(machine, b"j" * 16)
    kinds = [type(effect) for effect in machine.effects]
    assert kinds.index(Record) < kinds.index(Confirm)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"speed": 1}, "unknown job option 'speed'"),
        ({"priority": "high"}, "'priority' is to be of type int"),
        ({"durability": "disk"}, "'fsync', 'process' or 'memory'"),
        ({"order": "id"}, "'path', 'roots', 'none', or 'meta:KEY'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    answer = submit(broker(), b"j" * 16, **options)
    assert answer.kind == "UsageError" and said in str(answer.error)


def test_a_retry_needs_an_order_also_where_the_pipeline_has_none() -> None:
    machine = broker(order="none")
    refused = submit(machine, b"j" * 16, max_retry=1)
    assert refused.kind == "UsageError" and "needs an order" in (refused.error or "")
    assert submit(machine, b"k" * 16, max_retry=1, order="path").kind is None


@pytest.mark.parametrize("bad", ["junk", "00-" + "0" * 900, b"bytes", 7, None])
def test_a_trace_context_that_is_none_is_dropped(bad: Any) -> None:
    machine = broker()
    assert submit(machine, b"j" * 16, traceparent=bad, priority=2).at is not None
    job = machine.known.table.find(b"j" * 16)
    assert job is not None and job.options == {"priority": 2}


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), 0, -1.0])
def test_a_time_out_that_is_none_is_refused(timeout: float) -> None:
    answer = submit(broker(), b"j" * 16, timeout=timeout)
    assert answer.kind == "UsageError" and "'timeout'" in str(answer.error)


def test_a_client_that_asked_for_results_is_told_when_its_job_gets_a_sink_or_ends() -> None:
    machine = broker()
    job = b"j" * 16
    submit(machine, job)

    def told(members: list[Member], also: bool = False) -> list[tuple[bytes, tuple[bytes, ...]]]:
        machine.control(CLIENT, to_broker.Attach(ref=7, job=job), 0.0)
        machine.effects.clear()
        for member in members:
            hello(machine, member)
        if also:
            cancel(machine, job, 0.0)
        said = [effect for effect in machine.effects if isinstance(effect, Control)]
        return [(e.to, e.message.jobs) for e in said if isinstance(e.message, from_broker.Moved)]

    assert told([worker()]) == []
    assert told([sink()]) == [(CLIENT, (job,))]
    assert told([], also=True) == [(CLIENT, (job,))]


def test_the_end_of_jobs_is_told_to_who_waits_for_it() -> None:
    machine = broker()
    jobs = [bytes([i]) * 16 for i in range(3)]
    for job in jobs[:2]:
        submit(machine, job)
    machine.effects.clear()

    def watch(ref: int, jobs: list[bytes], now: float, who: bytes = CLIENT) -> None:
        machine.control(who, to_broker.Watch(ref=ref, jobs=tuple(jobs)), now)

    watch(1, jobs[:2], 0.0)
    watch(9, jobs[:1], 0.0, b"d" * 16)
    assert answers(machine) == []
    watch(2, jobs[:2], 1.0)  # in the place of the first
    cancel(machine, jobs[1], 2.0, ref=3)
    told, _ = answers(machine)
    ended = (jobs[1], "cancelled", "JobCancelled", "cancelled by a client")
    assert told == from_broker.Ok(ref=2, value=(ended,))
    watch(4, jobs, 3.0)
    assert answers(machine)[0].value == (ended, (jobs[2], "unknown", None, None)), "at once"
    watch(5, [], 4.0)
    assert answers(machine)[0].value == ()
    watch(6, jobs[:1], 100.0)
    cancel(machine, jobs[0], 100.0, ref=7)
    assert [answer.ref for answer in answers(machine)] == [6, 7], "the other left long ago"
