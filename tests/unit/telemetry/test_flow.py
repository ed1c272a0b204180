"""Members merged by stage and by host."""

from __future__ import annotations

import pytest

from tests.unit.telemetry.reports import member, telemetry
from zturbo.telemetry.flow import by_host, by_pipeline


def test_a_stage_is_the_sum_or_the_mean_of_its_workers() -> None:
    (pipeline,) = by_pipeline(
        telemetry(
            member(0, code=0.5, rate=10, pending=30, outputs=3),
            member(1, code=1.0, rate=8, waiting=3, each=0.1),
            member(1, code=0.5, own=0.25, rate=2, waiting=1, each=0.1, number=1),
            member(-1, pending=7),
            backlog=11,
            wanted=(1, 3, 1),
        )
    )
    first, second, third = pipeline.stages
    assert first.waiting == 11
    assert second.waiting == 30 + 4
    assert second.rate == second.given == pytest.approx(10)
    assert first.given == pytest.approx(30)
    assert second.shares == pytest.approx((0.75, 0.125, 0.0, 0.125))
    assert second.load == pytest.approx(0.875)
    assert (second.busy, second.starting, second.wanted) == (2, 1, 3)
    assert second.quantile(0.5) == pytest.approx(0.1, rel=0.2)
    assert (third.workers, third.rate, third.shares, third.quantile(0.5)) == ([], 0.0, (0, 0, 0, 0), None)
    assert pipeline.unread == 7


def test_a_member_without_news_has_been_idle() -> None:
    (pipeline,) = by_pipeline(telemetry(member(0, code=1.0, rate=9, age=9.0, running=0)))
    (worker,) = pipeline.stages[0].workers
    assert (worker.rate, worker.busy, worker.shares) == (0.0, False, (0.0, 1.0, 0.0, 0.0))
    assert any(worker.times)


def test_one_that_runs_a_task_without_a_word_is_busy() -> None:
    """Its code holds the interpreter, for instance."""
    (pipeline,) = by_pipeline(telemetry(member(0, age=9.0, running=1)))
    assert pipeline.stages[0].shares == (1.0, 0.0, 0.0, 0.0)


def test_a_member_that_has_told_nothing_yet_counts_as_there() -> None:
    silent = {**member(0), "latest": None, "before": None}
    (pipeline,) = by_pipeline(telemetry(silent))
    assert len(pipeline.stages[0].workers) == 1 and pipeline.stages[0].load == 0.0


def test_hosts_have_the_cpu_of_their_processes() -> None:
    one, other = by_host(
        telemetry(member(0, cpu=4.0), member(1, cpu=3.5), member(2, cpu=0.5, host="other"), member(-1))
    )
    assert (one.name, one.processes, one.memory, one.shared, one.cores) == ("h", 3, 3000, 600, 8)
    assert (one.received, one.sent) == (5000, 3000), "of the host, and not once for each process"
    assert one.cpu == pytest.approx(7.6) and one.full
    assert other.name == "other" and not other.full


def test_a_stage_as_a_map_has_plain_numbers() -> None:
    (pipeline,) = by_pipeline(telemetry(member(0, code=0.5, rate=10)))
    shown = pipeline.stages[0].as_map()
    assert shown["shares"] == {"code": 0.5, "input": 0.5, "held": 0.0, "own": 0.0}
    assert (shown["rate"], shown["workers"], shown["busy"], shown["idle"]) == (10.0, 1, 1, 0)
