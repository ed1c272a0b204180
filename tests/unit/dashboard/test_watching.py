"""What the page is told of the key under which it looks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cluster import eventually
from zturbo.dashboard.watching import Watcher


class Played:
    """A client of a broker with nothing in it."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.closed = False

    def telemetry(self) -> dict[str, Any]:
        return {"members": [], "pipelines": []}

    def describe(self, most: int) -> dict[str, Any]:
        return {"jobs": [], "pipelines": [], "totals": {}, "trouble": None, "open": False, "next": 0}

    def log_page(self, after: int) -> tuple[list[dict[str, Any]], int, bool]:
        return [], after, False

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
        watcher.lines.append({"number": number, **dict(zip(names, line, strict=True))})

    def found(after: int = 0, **asked: str) -> list[int]:
        return [line["number"] for line in json.loads(watcher.find_lines(after, **asked))]

    assert found() == [1, 2, 3] and found(2) == [3]
    assert found(words="SLOW") == [2, 3] and found(words="slow disk") == [3]
    assert found(source="p.a") == [2, 3] and found(source="p.a", host="gpu1") == [2]
    assert found(host="here") == [1] and found(host="nowhere") == []
    assert found(job="ab") == [2] and found(level="WARNING") == [2, 3] and found(level="loud") == [1, 2, 3]
