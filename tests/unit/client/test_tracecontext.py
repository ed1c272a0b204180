"""Where the context of a client's jobs comes from, and what it does to them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from zturbo import Job, Task
from zturbo.client.submissions import Submissions
from zturbo.client.tracecontext import JobContexts, with_context

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-01"


def current(monkeypatch: pytest.MonkeyPatch, *, valid: bool = True) -> None:
    """As if a program had imported OpenTelemetry, and had a span."""
    here = SimpleNamespace(is_valid=valid, trace_id=0xA, span_id=0xB, trace_flags=1)
    span = SimpleNamespace(get_span_context=lambda: here)
    trace = SimpleNamespace(get_current_span=lambda: span)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", trace)


def test_an_error_of_the_programs_tracer_keeps_no_job_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for trace in (SimpleNamespace(get_current_span=lambda: None), SimpleNamespace(get_current_span=7)):
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", trace)
        assert with_context({"priority": 2}) == {"priority": 2}


def test_the_current_span_goes_with_a_job_and_an_option_goes_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current(monkeypatch)
    mine = f"00-{0xA:032x}-{0xB:016x}-01"
    assert with_context({"priority": 2}) == {"priority": 2, "traceparent": mine}
    assert with_context({"traceparent": GOOD}) == {"traceparent": GOOD}
    assert with_context({"traceparent": "junk"}) == {"traceparent": mine}
    current(monkeypatch, valid=False)
    assert with_context({}) == {} and with_context({"traceparent": "junk"}) == {}
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert with_context({}) == {}


def test_a_client_does_not_import_opentelemetry() -> None:
    code = "import sys, zturbo.client.client, zturbo.client.spans; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_job_with_a_context_travels_alone_and_is_the_same_job_in_another_span() -> None:
    submissions = Submissions({"pipelines": ("p",), "max_task_bytes": {}})
    assert submissions.small(Task(1), "p", {}) is not None
    assert submissions.small(Task(1), "p", {"traceparent": GOOD}) is None
    job = Job("clip", Task(1))
    made = [
        submissions.job(job, "p", options).new
        for options in ({"traceparent": GOOD}, {"traceparent": OTHER}, {})
    ]
    assert len({new.digest for new in made}) == 1
    assert submissions.job(job, "p", {"priority": 1}).new.digest != made[0].digest
    assert made[0].options == {"traceparent": GOOD}


def test_lines_get_the_ids_of_their_jobs_callers() -> None:
    asked: list[Any] = []
    options = {"a": {"traceparent": GOOD}, "b": {}, "c": {"traceparent": OTHER}}

    def describe(job_id: str | None = None, *, most: int | None = None) -> dict[str, Any]:
        asked.append(job_id)
        there = [job_id] if job_id is not None else ["a", "b"]
        return {"jobs": [{"id": job, "options": options[job]} for job in there if job in options]}

    contexts = JobContexts()
    lines = [{"job": job} for job in ("a", "b", None, "c", "gone", "a")]
    contexts.add_to(lines, describe)
    assert asked == [None, "c", "gone"]
    assert [(line["span_id"] or "")[-1:] for line in lines] == ["1", "", "", "2", "", "1"]
    assert {line["trace_id"] for line in lines} == {GOOD.split("-")[1], None}
    contexts.add_to([{"job": job} for job in ("a", "b", "c", "gone", None)], describe)
    assert len(asked) == 3, "nothing is asked twice"
