"""Where spans go, and what becomes of those that a collector does not take."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo.errors import BrokerUnavailable, UsageError
from zturbo.telemetry.spans import Span

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed: pip install 'zturbo[otel]'")

from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExportResult

from zturbo.cli import otel
from zturbo.cli.otel import Exporting, make_exporter


class Collector:
    """Takes spans, or does not."""

    def __init__(self) -> None:
        self.takes = True
        self.got: list[Any] = []

    def export(self, spans: list[Any]) -> SpanExportResult:
        if not self.takes:
            return SpanExportResult.FAILURE
        self.got += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.takes = False


class Reader:
    """Gives spans, or has no broker."""

    left_out = mixed = 0

    def __init__(self) -> None:
        self.spans: list[Span] | None = []

    def look(self, last: float) -> list[Span]:
        if self.spans is None:
            raise BrokerUnavailable("no broker answers")
        found, self.spans = self.spans, []
        return found


def span(number: int, error: str = "") -> Span:
    return Span("p.a", 5, number, 6, 1000.25, 1000.5, {"zturbo.tasks": 1}, error)


def test_spans_that_are_not_taken_are_sent_again_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, collector = Reader(), Collector()
    monkeypatch.setattr(otel, "SpanReader", lambda client: reader)
    monkeypatch.setattr(otel, "WAITING", 3)
    exporting = Exporting(None, collector)  # type: ignore[arg-type]
    collector.takes = False
    reader.spans = [span(number) for number in range(1, 6)]
    exporting.look(60.0)
    assert exporting.sums == {"sent": 0, "not_sent": 5, "left_out": 0, "mixed": 0}
    reader.spans = None
    exporting.look(60.0)
    assert collector.got == []
    collector.takes = True
    reader.spans = [span(6, "it broke")]
    exporting.look(60.0)
    assert [one.context.span_id for one in collector.got] == [4, 5, 6]
    assert exporting.sums == {"sent": 3, "not_sent": 3, "left_out": 0, "mixed": 0}
    last = collector.got[-1]
    assert (last.parent.span_id, last.context.trace_id) == (6, 5)
    assert (last.start_time, last.end_time) == (1000250000000, 1000500000000)
    assert (last.status.is_ok, last.status.description) == (False, "it broke") and collector.got[
        0
    ].status.is_ok
    assert last.resource.attributes["service.name"] == "zturbo"


def test_the_sdks_variables_choose_the_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert isinstance(make_exporter(), ConsoleSpanExporter)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(
        UsageError, match=r"no exporter 'pigeon' here; installed are: .*console.*otlp_proto_http"
    ):
        make_exporter()
    monkeypatch.setattr(otel, "entry_points", lambda **names: ())
    with pytest.raises(UsageError, match=r"pip install 'zturbo\[otel\]'"):
        make_exporter()
