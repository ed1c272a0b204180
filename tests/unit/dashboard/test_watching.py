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
