"""Spans of a caller's trace, from records and statuses."""

from __future__ import annotations

from typing import Any

from tests.unit.telemetry.test_trace import JOB, OTHER, record, track
from zturbo.telemetry.spans import TracedJob, job_span, stage_spans

TRACED = TracedJob(JOB, "clip", "p", 5, 6)


def status(**more: Any) -> dict[str, Any]:
    fields = {"state": "done", "results": 3, "failed": 0, "error": None, "created": 50.0, "ended": 60.0}
    return {**fields, **more}


def test_each_record_of_a_traced_jobs_code_is_a_span() -> None:
    told = [
        record(1.0, 0.5, 0.25, first=(1,), last=(1,), tasks=1),
        record(2.0, 0.5, job=OTHER),
        record(3.0, 0.0, 1.0),
        record(4.0, 0.5, first=(), several=True, failed=2, tasks=3),
    ]
    one, two = stage_spans(track(1, 7, *told), {JOB: TRACED, OTHER: None})
    assert (one.name, one.trace, one.parent, one.error) == ("p.b", 5, TRACED.span, "")
    assert (one.began, one.ended) == (1001.25, 1001.75), "waiting for input comes before the code"
    assert one.attributes == {
        "zturbo.pipeline": "p",
        "zturbo.stage": "b",
        "host.name": "h",
        "process.pid": 7,
        "zturbo.job": JOB.hex(),
        "zturbo.path": "1",
        "zturbo.tasks": 1,
    }
    assert two.attributes["zturbo.path"] == "root" and two.attributes["zturbo.last_path"] == "4"
    assert two.attributes["zturbo.other_jobs"] is True and two.attributes["zturbo.failed_tasks"] == 2
    assert two.error.startswith("2 tasks failed; 'zturbo job ")


def test_a_span_that_is_read_twice_has_the_same_id() -> None:
    ids = []
    for offset in (1000.0, 1000.001):
        here = track(0, 7, record(1.0, 0.5), record(2.0, 0.5))._replace(offset=offset)
        ids.append([span.id for span in stage_spans(here, {JOB: TRACED})])
    assert ids[0] == ids[1] and len({*ids[0], TRACED.span}) == 3
    (other,) = stage_spans(track(0, 8, record(1.0, 0.5)), {JOB: TRACED})
    assert other.id not in ids[0]


def test_a_job_has_a_span_below_its_callers() -> None:
    span = job_span(TRACED, status())
    assert (span.trace, span.id, span.parent) == (5, TRACED.span, 6)
    assert (span.began, span.ended, span.error) == (50.0, 60.0, "")
    assert "zturbo.spans_left_out" not in span.attributes
    assert job_span(TRACED, status(failed=1), 7).attributes["zturbo.spans_left_out"] == 7
    assert job_span(TRACED, status(failed=1)).error == "1 task failed"
    assert job_span(TRACED, status(state="failed", error="it was late")).error == "it was late"
    assert job_span(TRACED, status(ended=49.0)).ended == 50.0, "a clock that was set back"
