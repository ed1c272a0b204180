"""What the page is told of the key under which it looks."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.cluster import eventually
from zturbo.dashboard import watching
from zturbo.dashboard.watching import Watcher


class Played:
    """A client of a broker with nothing in it."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.closed = False
        self.asked = self.looks = self.described = 0
        self.clock, self.takes = SimpleNamespace(now=100.0), 0.0

    def telemetry(self) -> dict[str, Any]:
        self.looks += 1
        return {"members": [], "pipelines": []}

    def describe(self, most: int) -> dict[str, Any]:
        self.described += 1
        self.clock.now += self.takes
        empty = {"jobs": [], "pipelines": [], "totals": {}, "trouble": None, "open": False, "next": 0}
        return {**empty, "clock": 1000.0}

    def log_page(self, after: int, *, job: str | None = None) -> tuple[list[dict[str, Any]], int, bool]:
        if job is None:
            return [], after, False
        self.asked += 1
        line = {"level": "INFO", "source": "p.a", "host": "here", "job": job, "pid": 3, "text": "of old"}
        return [{**line, "number": number} for number in (after + 1, after + 2)], after + 2, after < 2

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("role", "viewer"), [("viewer", True), ("admin", False), ("client", False), ("", False)]
)
def test_a_viewers_page_is_told_that_it_may_only_look(role: str, viewer: bool) -> None:
    client: Any = Played(role)
    watcher = Watcher("ipc:///nowhere", lambda: client)
    watcher.start()
    try:
        eventually(lambda: "viewer" in json.loads(watcher.state))
        assert json.loads(watcher.state)["viewer"] is viewer
    finally:
        watcher.close()
    assert client.closed


def test_many_jobs_do_not_hold_up_what_else_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = Played("")
    client.takes = 1.0
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: client.clock.now))
    watcher = Watcher("ipc:///nowhere", lambda: client)
    watcher.start()
    try:
        eventually(lambda: client.looks >= 3)
        assert client.described == 1
        client.clock.now += 10.0
        eventually(lambda: client.described == 2)
    finally:
        watcher.close()


def test_lines_are_filtered() -> None:
    client: Any = Played("")
    watcher = Watcher("ipc:///nowhere", lambda: client)
    lines = [
        ("broker", "here", "INFO", None, "Job begins"),
        ("p.a", "gpu1", "WARNING", "ab12", "slow frame"),
        ("p.a", "gpu2", "ERROR", "cd34", "slow disk"),
    ]
    names = ("source", "host", "level", "job", "text")
    for number, line in enumerate(lines, 1):
        watcher.lines.append({"number": number, "pid": 0, **dict(zip(names, line, strict=True))})

    def found(after: int = 0, **asked: str) -> list[int]:
        return [line["number"] for line in json.loads(watcher.find_lines(after, **asked))]

    assert found() == [1, 2, 3] and found(2) == [3]
    assert found(words="SLOW") == [2, 3] and found(words="slow disk") == [3]
    assert found(source="p.a") == [2, 3] and found(source="p.a", host="gpu1") == [2]
    assert found(host="here") == [1] and found(host="nowhere") == []
    assert found(job="ab") == [2] and found(level="WARNING") == [2, 3] and found(level="loud") == [1, 2, 3]


def test_incidents_are_of_zturbo_and_not_what_a_stages_code_logs_in_a_task() -> None:
    client: Any = Played("")
    watcher = Watcher("ipc:///nowhere", lambda: client)
    lines = [
        ("p.a", 0, "WARNING", "ab12", "p.a (process 7 on here) died: SIGKILL"),
        ("p.a", 7, "WARNING", "ab12", "a slow frame, says the stage's code"),
        ("p.a", 7, "ERROR", None, "the disk is full"),
        ("sink-0", 8, "WARNING", "ab12", "the disk is full"),
        ("broker", 0, "INFO", "ab12", "the job is done"),
    ]
    names = ("source", "pid", "level", "job", "text")
    for number, line in enumerate(lines, 1):
        watcher.lines.append({"number": number, "host": "here", **dict(zip(names, line, strict=True))})

    def found(**asked: Any) -> list[int]:
        return [line["number"] for line in json.loads(watcher.find_lines(0, **asked))]

    assert found(incidents=True) == [1, 3, 4]
    assert found(source="sink") == [4] and found(source="p.a") == [1, 2, 3] and found(source="p") == []


def test_older_lines_of_a_job_are_asked_for_once() -> None:
    client: Any = Played("")
    watcher = Watcher("ipc:///nowhere", lambda: client)
    job, line = "ab" * 16, {"level": "INFO", "source": "p.a", "host": "here", "pid": 3, "text": "of now"}
    for number in (4, 5):
        watcher.lines.append({**line, "number": number, "job": job})

    def found(after: int, job: str) -> list[tuple[int, str]]:
        return [(line["number"], line["text"][3:]) for line in json.loads(watcher.find_lines(after, job=job))]

    assert found(0, job) == [(4, "now"), (5, "now")], "no broker is there to be asked"
    watcher.client = client
    for _ in range(2):
        assert found(0, job) == [(1, "old"), (2, "old"), (3, "old"), (4, "now"), (5, "now")]
    assert found(4, job) == [(5, "now")] and found(0, job[:6]) == [(4, "now"), (5, "now")]
    assert client.asked == 2, "of two pages, once each"
