"""Spans are read once, within bounds, whatever the broker still knows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.telemetry.test_trace import JOB, OTHER, record, track
from zturbo.client import spans
from zturbo.client.spans import SpanReader
from zturbo.telemetry.chrome import Track

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT = 2000.0
"""What the clocks of broker and host show."""


class Broker:
    """Answers as a client of a broker does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: dict[bytes, dict[str, Any]] = {}
        self.hidden: set[bytes] = set()
        """Jobs that are not among the latest."""
        self.tracks: list[Track] = []
        self.looks = 0
        monkeypatch.setattr(spans, "tracks", self._tracks)

    def _tracks(self, client: object, last: float) -> tuple[list[Track], float]:
        self.looks += 1
        return self.tracks, AT

    def job(self, job: bytes, traceparent: str | None = GOOD, ended: float = 0.0) -> None:
        options = {} if traceparent is None else {"traceparent": traceparent}
        state = "done" if ended else "running"
        fields = {"results": 1, "failed": 0, "error": None, "created": AT - 900, "ended": ended}
        self.jobs[job] = {
            "id": job.hex(),
            "name": "clip",
            "pipeline": "p",
            "state": state,
            "options": options,
        }
        self.jobs[job].update(fields)

    def describe(self, job: bytes | None = None, *, most: int | None = None) -> dict[str, Any]:
        there = self.jobs.keys() - self.hidden if job is None else {job} & self.jobs.keys()
        return {"jobs": [self.jobs[one] for one in sorted(there)], "next": bool(self.hidden), "clock": AT}


def reader(broker: Broker) -> SpanReader:
    return SpanReader(broker)  # type: ignore[arg-type]


def worker(*records: Any) -> Track:
    return track(0, 7, *records)._replace(until=AT)


def names(found: list[Any]) -> list[str]:
    return [span.name for span in found]


def test_nothing_is_asked_of_workers_while_no_job_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch)
    broker.job(JOB, None)
    broker.job(OTHER, GOOD[:-1] + "0")
    assert reader(broker).look(60.0) == [] and broker.looks == 0


def test_spans_are_read_once_and_that_of_the_job_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch)
    broker.job(JOB)
    broker.tracks = [worker(record(900.0, 0.5), record(990.0, 0.5), record(991.0, 0.5, job=OTHER))]
    looks = reader(broker)
    assert names(looks.look(60.0)) == ["p.a"], "the first is from before"
    assert looks.look(60.0) == []
    broker.tracks[0].records.append(record(995.0, 0.5))  # type: ignore[attr-defined]
    broker.job(JOB, ended=AT - 1)
    assert names(looks.look(60.0)) == ["p.a", "job p"]
    assert looks.look(60.0) == []


def test_a_job_that_is_forgotten_has_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch)
    broker.job(JOB)
    looks = reader(broker)
    assert looks.look(60.0) == []
    del broker.jobs[JOB]
    (span,) = looks.look(60.0)
    assert (span.ended, span.attributes["zturbo.state"]) == (AT, "forgotten")


def test_jobs_beyond_the_latest_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch)
    broker.job(JOB, ended=AT - 1)
    broker.job(OTHER, None, ended=AT - 1)
    broker.hidden = {JOB}
    broker.tracks = [worker(record(990.0, 0.5))]
    assert names(reader(broker).look(60.0)) == ["p.a", "job p"]


def test_jobs_that_ended_long_ago_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch)
    broker.job(JOB, ended=AT - 500)
    broker.job(OTHER, None, ended=AT - 400)
    broker.hidden = {JOB}
    assert reader(broker).look(60.0) == [] and broker.looks == 0


def test_the_number_of_a_jobs_spans_is_bounded_and_the_rest_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "PER_JOB", 3)
    broker = Broker(monkeypatch)
    broker.job(JOB, ended=AT - 1)
    broker.tracks = [worker(*(record(990.0 + i, 0.5, several=i == 2) for i in range(5)))]
    looks = reader(broker)
    *stages, job = looks.look(60.0)
    assert names(stages) == ["p.a"] * 3 and job.attributes["zturbo.spans_left_out"] == 2
    assert (looks.left_out, looks.mixed) == (2, 1)
