"""The sentence that names what limits a pipeline."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.telemetry.reports import member, telemetry
from zturbo.telemetry.bottleneck import Verdict, bottleneck, per_second, shown_time
from zturbo.telemetry.flow import by_host, by_pipeline


def verdict(*members: dict[str, Any], **more: Any) -> Verdict:
    told = telemetry(*members, **more)
    (pipeline,) = by_pipeline(told)
    return bottleneck(pipeline, by_host(told))


def test_the_busiest_stage_is_named_with_the_workers_that_would_help() -> None:
    found = verdict(
        member(0, code=0.2, held=0.8, rate=29, pending=400),
        member(1, code=0.97, rate=14.5, waiting=6),
        member(1, code=0.97, rate=14.5, waiting=6, number=1),
        member(2, code=0.5, rate=29),
    )
    assert found == Verdict(
        "b",
        "b: 97 % busy, 412 wait in front of it; 2 → 4 workers would raise the whole to about 58/s, "
        "then c is next",
    )


def test_a_stage_with_a_queue_is_named_though_one_before_it_works_all_the_time() -> None:
    """More workers of that one would only make the queue longer."""
    found = verdict(
        member(0, code=1.0, rate=0.3, pending=400), member(1, code=0.95, rate=38, waiting=20), member(2)
    )
    assert (
        found.text
        == "b: 95 % busy, 420 wait in front of it; 1 → 4 workers would raise the whole to about 160/s"
    )
    short = verdict(member(0, code=1.0, rate=30), member(1, code=0.95, rate=30, waiting=2), member(2))
    assert short.stage == "a" and short.text.endswith(
        "1 → 2 workers would raise the whole to about 32/s, then b is next"
    )


def test_no_more_than_a_few_times_as_many_workers_are_advised() -> None:
    found = verdict(member(0, code=0.01, rate=10), member(1, code=1.0, rate=10, waiting=5), member(2))
    assert found.text.endswith("1 → 4 workers would raise the whole to about 40/s")


def test_of_an_ordered_stage_a_job_has_one_worker() -> None:
    found = verdict(member(0, code=0.1, rate=5), member(1, code=0.9, rate=5, ordered=True), member(2))
    assert found.stage == "b" and "it is ordered" in found.text and "workers would" not in found.text


def test_more_workers_do_not_help_where_all_cpus_are_in_use() -> None:
    found = verdict(member(0, code=0.9, rate=5, cpu=7.5, host="box"), member(1, code=0.1), member(2))
    assert "the CPUs of box are in use: 1 → 4 workers, on more hosts," in found.text


def test_no_more_workers_are_advised_than_the_cpus_have_room_for() -> None:
    busy = [member(0, code=0.9, rate=5, cpu=1.0), member(1, code=0.1, cpu=5.0), member(2)]
    assert "1 → 3 workers would" in verdict(*busy).text
    waits = member(0, code=0.9, rate=5, cpu=0.01)
    assert "1 → 4 workers would" in verdict(waits, member(1, cpu=7.9), member(2)).text


def test_workers_that_start_are_waited_for() -> None:
    found = verdict(member(0, code=0.9, rate=5), member(1), member(2), wanted=(3, 1, 1))
    assert found.text == "a: 90 % busy; 2 more of its workers are starting"


def test_a_stage_without_workers_stops_all() -> None:
    found = verdict(member(0, held=1.0, pending=9), member(2, running=0))
    assert found == Verdict("b", "b has no worker: 9 wait in front of it")


def test_no_stage_may_be_at_fault() -> None:
    idle = [member(stage, running=0) for stage in range(3)]
    assert verdict(*idle) == Verdict(None, "idle: no task waits or runs")
    slow_input = [member(stage, code=0.1, rate=3) for stage in range(3)]
    assert verdict(*slow_input).text.startswith("the input: a waits for tasks 90 % of its time")
    unread = verdict(member(0), member(1), member(2, code=0.2, held=0.8), member(-1, pending=50))
    assert unread.text == "the results: c is held back 80 % of its time; 50 results are not read yet"
    half = verdict(member(0, code=0.6, rate=3), member(1, code=0.5, rate=3), member(2, code=0.3))
    assert half.text == "no stage limits it; the busiest is a, 60 %"


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0, "0.0/s"), (0.03, "0.03/s"), (5.84, "5.8/s"), (58.2, "58/s"), (12_345, "12k/s"), (2e7, "20M/s")],
)
def test_rates_are_short(rate: float, text: str) -> None:
    assert per_second(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (2e-6, "2us"),
        (0.0042, "4.2ms"),
        (0.15, "150ms"),
        (3.25, "3.2s"),
        (600, "10min"),
        (9000, "2.5h"),
    ],
)
def test_times_are_short(seconds: float | None, text: str) -> None:
    assert shown_time(seconds) == text
