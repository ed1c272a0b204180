"""``zturbo otel``: gives the spans of traced jobs to OpenTelemetry."""

from __future__ import annotations

import argparse
import logging
import os
import threading
from collections import deque
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from zturbo.cli.ask import add_broker, connect, seconds
from zturbo.cli.printed import print_json
from zturbo.cli.trace import span as time_span
from zturbo.client.spans import PER_JOB, SpanReader
from zturbo.errors import BrokerUnavailable, UsageError
from zturbo.version import __version__

if TYPE_CHECKING:
    from zturbo.client.client import Client
    from zturbo.telemetry.spans import Span

__all__ = ["Exporting", "add", "run"]

log = logging.getLogger("zturbo.otel")

EPILOG = f"""\
examples:
  OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 zturbo otel
  zturbo otel --once --last 5m                   what is there now, and end
  OTEL_TRACES_EXPORTER=console zturbo otel       print the spans

A job that is submitted within a span of OpenTelemetry (or with the option traceparent) is traced, if its
caller records that trace. The variables of OpenTelemetry's SDK say where spans go: OTEL_TRACES_EXPORTER,
OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME, and the others.
A job has {PER_JOB} spans of its stages at most; the rest is counted. Needs: pip install 'zturbo[otel]'
"""

AT_ONCE = 512
"""Spans of one request."""

WAITING = 20_000
"""Spans that wait for a collector that does not take them, at most; the oldest are dropped, and counted."""

SETTLE = 0.1
"""Seconds within which a worker has recorded quick work that nothing follows."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "otel",
        help="give each stage's work on traced jobs to OpenTelemetry, as spans",
        description="Gives OpenTelemetry a span of each job that was submitted within a span, and below it "
        "one of each piece of its stages' work, with pipeline, stage, host, job and path. It reads what the "
        "workers record at all times (see 'zturbo trace'), so nothing is added to them. It is a process of "
        "its own; one for a broker is enough, and a second one sends the same spans with the same ids.",
        epilog=EPILOG,
    )
    parser.add_argument("--once", action="store_true", help="send what there is now, and end")
    parser.add_argument(
        "--last",
        type=time_span,
        default=60.0,
        metavar="SPAN",
        help="how far the first look goes back: 60s, 5m",
    )
    parser.add_argument(
        "--every", type=seconds, default=1.0, metavar="SECONDS", help="seconds between two looks; default: 1"
    )
    add_broker(parser, as_json="print the sums at the end as JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    exporter = make_exporter()
    with connect(args) as client:
        exporting = Exporting(client, exporter)
        try:
            exporting.look(args.last)
            pause = threading.Event()
            pause.wait(SETTLE if args.once else args.every)
            exporting.look(args.last)
            while not args.once:
                pause.wait(args.every)
                exporting.look(args.last)
        except KeyboardInterrupt:
            exporting.look(args.last)
            raise
        finally:
            exporting.close()
            if args.json:
                print_json(exporting.sums)
            else:
                sums = exporting.sums.items()
                print(", ".join(f"{count} {what.replace('_', ' ')}" for what, count in sums))
    return 1 if exporting.sums["not_sent"] else 0


def make_exporter() -> Any:
    """The exporter that OpenTelemetry's variables name.

    Raises:
        UsageError: it is not installed, or of another kind.
    """
    name = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        protocol = protocol or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = entry_points(group="opentelemetry_traces_exporter", name=name)
    for one in found:
        try:
            return one.load()()
        except ImportError as error:
            raise UsageError(f"{error}: pip install 'zturbo[otel]'") from None
    known = sorted({one.name for one in entry_points(group="opentelemetry_traces_exporter")})
    if not known:
        raise UsageError("OpenTelemetry's SDK is not installed: pip install 'zturbo[otel]'")
    raise UsageError(
        f"OpenTelemetry has no exporter {name!r} here; installed are: {', '.join(known)}. "
        "OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_PROTOCOL choose one"
    )


class Exporting:
    """Sends new spans.

    Args:
        client: of the broker.
        exporter: of OpenTelemetry's SDK.
    """

    def __init__(self, client: Client, exporter: Any) -> None:
        self._reader = SpanReader(client)
        self._exporter = exporter
        self._resource = _resource()
        self._waiting: deque[Span] = deque()
        self._sent = self._dropped = 0
        self._away = False

    @property
    def sums(self) -> dict[str, int]:
        """Numbers of spans, for people and programs."""
        return {
            "sent": self._sent,
            "not_sent": self._dropped + len(self._waiting),
            "left_out": self._reader.left_out,
            "mixed": self._reader.mixed,
        }

    def look(self, last: float) -> None:
        """Read new spans and send them. What cannot be read or sent now comes with the next look.

        Args:
            last: seconds that the first look goes back.
        """
        try:
            self._waiting.extend(self._reader.look(last))
        except BrokerUnavailable as error:
            if not self._away:
                log.warning("%s; it is asked again", error)
            self._away = True
        else:
            self._away = False
        while len(self._waiting) > WAITING:
            self._waiting.popleft()
            self._dropped += 1
        while self._waiting:
            some = [self._waiting[i] for i in range(min(AT_ONCE, len(self._waiting)))]
            if not self._send(some):
                return
            for _ in some:
                self._waiting.popleft()
            self._sent += len(some)

    def _send(self, spans: list[Span]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = self._exporter.export([_readable(span, self._resource) for span in spans])
        return bool(result == SpanExportResult.SUCCESS)

    def close(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()


def _resource() -> Any:
    """What the spans are of: the service that the environment names, else zturbo."""
    from opentelemetry.sdk.resources import Resource

    attributes = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in attributes
    return Resource.create({} if named else {"service.name": "zturbo"})


def _readable(span: Span, resource: Any) -> Any:
    """A span as the SDK's exporters take it."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return ReadableSpan(
        span.name,
        context=SpanContext(span.trace, span.id, is_remote=False, trace_flags=flags),
        parent=SpanContext(span.trace, span.parent, is_remote=True, trace_flags=flags),
        resource=resource,
        attributes=span.attributes,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
        start_time=int(span.began * 1e9),
        end_time=int(span.ended * 1e9),
        instrumentation_scope=InstrumentationScope("zturbo", __version__),
    )
