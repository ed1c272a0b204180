"""A page on a run: which stage limited it, what each worker did; strangers' texts do no harm in it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from zturbo.telemetry.chrome import BESIDE
from zturbo.telemetry.report import COLUMNS, Failed, Lane, Report, lanes_of, memory_of, page

SINCE, UNTIL = 1000.0, 1010.0


def meta(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def work(pid: int, tid: int, kind: str, at: float, seconds: float, tasks: int = 0) -> dict[str, Any]:
    args = {"tasks": tasks} if tasks else {}
    return {
        "ph": "X",
        "cat": kind,
        "pid": pid,
        "tid": tid,
        "ts": at * 1e6,
        "dur": seconds * 1e6,
        "args": args,
    }


def a_trace() -> dict[str, Any]:
    """The second stage works all the time, the first one is held back for most of it."""
    events = [meta("process_name", 1, 0, "p.a"), meta("process_name", 2, 0, "p.b")]
    events += [meta("thread_name", 1, 1, "host:11"), meta("thread_name", 2, 2, "host:12")]
    events += [work(1, 1, "code", 1000.0, 2.0, 20), work(1, 1, "held", 1002.0, 8.0)]
    events += [work(2, 2, "code", 999.0, 20.0, 10), work(2, 9, "code", 1000.0, 1.0, 5)]
    return {"traceEvents": [*events, {"ph": "i", "cat": "warning", "pid": 1, "tid": 0, "name": "x", "ts": 0}]}


def a_report(**fields: Any) -> Report:
    lanes = lanes_of(a_trace(), SINCE, UNTIL)
    return Report("Job clip", [("job", "3f2a")], SINCE, UNTIL, lanes=lanes, stages=["p.a", "p.b"], **fields)


def test_what_workers_did_is_cut_to_the_time_of_the_report() -> None:
    first, second = lanes_of(a_trace(), SINCE, UNTIL)
    assert (first.stage, first.worker, first.tasks) == ("p.a", "host:11", 20)
    assert {kind: round(seconds, 6) for kind, seconds in first.spent.items()} == {"code": 2.0, "held": 8.0}
    assert round(second.spent["code"], 6) == 10.0, "what was before and after is not of this time"
    assert sorted(second.steps) == list(range(COLUMNS))
    assert round(sum(part["code"] for part in second.steps.values()), 6) == 10.0


def test_a_coroutine_that_has_not_finished_is_no_worker_of_its_own() -> None:
    beside = BESIDE + 2
    more = [meta("thread_name", 2, beside, "host:12, not finished"), work(2, beside, "code", 1000.0, 10.0)]
    trace = {"traceEvents": [*a_trace()["traceEvents"], *more]}
    assert lanes_of(trace, SINCE, UNTIL) == lanes_of(a_trace(), SINCE, UNTIL)


def test_the_memory_of_workers_is_known_from_their_traces() -> None:
    def counter(at: float, size: int) -> dict[str, Any]:
        name = "memory of host:12"
        return {"ph": "C", "name": name, "pid": 2, "tid": 0, "ts": at * 1e6, "args": {"bytes": size}}

    sizes = [counter(999.5, 10), counter(1004.0, 30), counter(1011.0, 99)]
    trace = {"traceEvents": [*a_trace()["traceEvents"], *sizes]}
    assert memory_of(trace, SINCE, UNTIL) == {"p.b host:12": [(0.0, 10), (4.0, 30), (10.0, 30)]}
    assert memory_of(a_trace(), SINCE, UNTIL) == {}


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.outside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "rect", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "rect", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data + " "


def test_the_stage_that_limits_the_job_is_named_and_each_worker_is_drawn() -> None:
    shown = Page(page(a_report()))
    assert not shown.open and not shown.outside and "script" not in shown.tags
    assert "p: b: 100 % busy; 1 → " in shown.words
    assert "p.a host:11" in shown.words and "p.b host:12" in shown.words
    assert shown.tags.count("rect") == 3, "code and held back of one worker, code of the other"
    assert "10 s" in shown.words and "held back by what follows" in shown.words


def test_memory_failures_events_and_hosts() -> None:
    processes = [{"version": "0.1.0", "python": "3.11.7"}, {"version": "", "python": ""}]
    report = a_report(
        memory={"p.a host:11": [(0.0, 10_000_000), (5.0, 40_000_000)], "sink-0 host:9": []},
        failed=[Failed("17.2", "a", "ValueError: no", "'x'", "Traceback ...")],
        more_failed=4,
        events=[(3.0, "broker", "p.a died")],
        hosts=[{"host": "host", "processes": processes, "memory": 90_000_000}],
    )
    shown = Page(page(report))
    assert "40 MB  p.a host:11" in shown.words and "polyline" in shown.tags
    for text in ("17.2 at a: ValueError: no", "and 4 more", "p.a died", "3.0 s", "0.1.0", "90 MB"):
        assert text in shown.words


def test_texts_of_strangers_are_texts() -> None:
    bad = "<script>alert(1)</script>\x1b[31m&\udc80"
    report = a_report(
        memory={bad: [(0.0, 1)]},
        failed=[Failed(bad, bad, bad, bad, bad)],
        events=[(0.0, bad, bad)],
        hosts=[{"host": bad, "processes": [{"version": bad, "python": bad}], "memory": None}],
    )
    report.title, report.facts = bad, [(bad, bad)]
    report.lanes = [*report.lanes, Lane(bad, bad, bad, {"code": 1.0}, {0: {"code": 1.0}}, 1)]
    report.stages = [*report.stages, f"{bad}.x"]
    text = page(report)
    text.encode()
    assert "script" not in Page(text).tags and "\x1b" not in text


def test_a_run_of_which_nothing_is_kept_says_so() -> None:
    text = page(Report("Job old", [], SINCE, SINCE))
    assert "nothing is left of this time" in text and "svg" not in Page(text).tags
    idle = page(Report("Job old", [], SINCE, SINCE + 10, lanes=[Lane("p", "p.a", "host:11")], stages=["p.a"]))
    assert "nothing is left of this time" in idle and "<td>0%" not in idle, "workers of which nothing is left"


def test_it_is_said_where_the_beginning_of_a_run_is_lost() -> None:
    late = Lane("p", "p.a", "host:11", {"code": 1.0}, {COLUMNS // 2: {"code": 1.0}}, 1)
    told = page(Report("Job long", [], SINCE, SINCE + 60, lanes=[late], stages=["p.a"]))
    assert "nothing is left of the first 30 s, so the shares are too small" in told
    assert "nothing is left" not in page(a_report())
