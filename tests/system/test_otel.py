"""A caller's trace: its context travels with a job, and a real collector gets spans of each stage."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.stages import contents
from tests.support.cluster import Cluster, eventually, stage
from zturbo import Job, Resources, Stage, System, Task
from zturbo.cli import main

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed: pip install 'zturbo[otel]'")

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor


@contextmanager
def collector() -> Iterator[tuple[str, dict[bytes, Any]]]:
    """A collector that speaks OTLP over HTTP: its address, and the spans that it got, by their ids."""
    spans: dict[bytes, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans.update({span.span_id: span for span in scope.spans})
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_a_callers_trace_has_a_span_of_each_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [
        stage("quick", "tests.stages.contents:Same", 1),
        stage("slow", "Nap", 1, seconds=0.03),
        stage("picky", "Picky", 1),
    ]
    with collector() as (address, spans), Cluster({"p": stages}) as cluster, cluster.client() as client:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        tracer = provider.get_tracer("test")
        with tracer.start_as_current_span("caller") as caller:
            good = client.submit(Job("good", Task(1)), "p")
            bad = client.submit(Job("bad", Task(3)), "p")
            many = client.map([4, 5], "p", name="many")
            assert [next(many), next(many)] == [4, 5]
        again = Job("again", Task(2))
        client.submit(again, "p", wait=True)
        with tracer.start_as_current_span("other"):
            client.submit(again, "p", wait=True).result()
        strange = client.submit(Job("strange", Task(2)), "p", traceparent="00-junk")
        assert (list(strange.result()), list(good.result())) == ([2], [1])
        assert len(bad.result().failed_tasks) == 1
        assert "traceparent" not in strange.status()["options"]
        here = caller.get_span_context()
        assert f"{here.trace_id:032x}-{here.span_id:016x}" in good.status()["options"]["traceparent"]

        mine: dict[str, list[Any]] = {}

        def whole() -> bool:
            """The last records are written some milliseconds after a job's end."""
            assert main(["otel", "--once", "--json", "--broker", cluster.address]) == 0
            assert json.loads(capsys.readouterr().out)["not_sent"] == 0
            mine.clear()
            for span in spans.values():
                assert span.name != "other" or not span.parent_span_id
                if int.from_bytes(span.trace_id, "big") == here.trace_id:
                    mine.setdefault(attributes(span).get("zturbo.job", ""), []).append(span)
            wanted = {"p.quick", "p.slow", "p.picky", "job p"}
            some = [mine.get(job.id, ()) for job in (good, bad)]
            return len(mine) == 4 and all(wanted <= {span.name for span in one} for one in some)

        eventually(whole)
        many.close()
        (root,) = mine.pop("")
        assert root.name == "caller" and {good.id, bad.id} < mine.keys()
        for found in (mine[good.id], mine[bad.id]):
            (job,) = [span for span in found if span.name == "job p"]
            assert job.parent_span_id == root.span_id
            for span in found:
                if span is not job:
                    assert span.parent_span_id == job.span_id
                    told = attributes(span)
                    assert told["zturbo.pipeline"] == "p" and span.name == f"p.{told['zturbo.stage']}"
                    assert told["host.name"] and told["zturbo.tasks"] >= 0 and "zturbo.path" in told
                    assert 0 < span.start_time_unix_nano < span.end_time_unix_nano
        slow = next(span for span in mine[good.id] if span.name == "p.slow")
        assert slow.end_time_unix_nano - slow.start_time_unix_nano >= 0.025e9
        broken = {span.name for span in mine[bad.id] if span.status.code == 2}
        assert broken == {"p.picky", "job p"}
        assert not [span for span in mine[good.id] if span.status.code == 2]

        trace = {"trace_id": f"{here.trace_id:032x}", "span_id": f"{here.span_id:016x}"}
        lines = client.logs(bad.id)
        assert lines and all(line | trace == line for line in lines)
        assert main(["logs", "--json", "--broker", cluster.address]) == 0
        told_lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {line["trace_id"] for line in told_lines if line["job"] == bad.id} == {trace["trace_id"]}
        assert {line["trace_id"] for line in told_lines if line["job"] == strange.id} <= {None}


class Same(System):
    """One stage that gives back what it gets."""

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [contents.Same(resources)]


def test_a_system_takes_the_context_of_the_thread_that_adds_a_job(tmp_path: Path) -> None:
    tracer = TracerProvider().get_tracer("test")
    given = f"00-{7:032x}-{8:016x}-01"
    system = Same(state_dir=tmp_path)
    with tracer.start_as_current_span("before its start") as early:
        system.add_job(Job("early", Task(1)))
    with system:
        with tracer.start_as_current_span("caller") as caller:
            system.add_jobs([Job("one", Task(1)), Job("two", Task(2))])
            system.add_job(Job("given", Task(3)), traceparent=given)
        system.add_job(Job("none", Task(4)))
        system.add_job(Job("strange", Task(5)), traceparent="00-junk")
        client = system._processes.client if system._processes is not None else None
        assert client is not None
        # with a state_dir the broker keeps a job until it is taken
        eventually(lambda: [job["state"] for job in client.jobs()] == ["done"] * 6)
        told = {job["name"]: job["options"].get("traceparent") for job in client.jobs()}
        contexts = [span.get_span_context() for span in (early, caller, caller)]
        texts = [f"00-{one.trace_id:032x}-{one.span_id:016x}-{one.trace_flags:02x}" for one in contexts]
        assert told == {
            **dict(zip(("early", "one", "two"), texts, strict=True)),
            "given": given,
            "none": None,
            "strange": None,
        }
        assert {job.name for job in system.wait_jobs(6)} == told.keys()
