"""What a node sees at the ports of a process on another host."""

from __future__ import annotations

import math
import socket
from typing import Any

import pytest

from tests.support.cluster import eventually
from zturbo.runtime.node import reaching
from zturbo.runtime.node.reaching import Reaching
from zturbo.telemetry.seen import Unreadable, pack, read_reached
from zturbo.wire.control import from_broker, to_broker


def asked(number: int, *ends: str) -> from_broker.LookAt:
    return from_broker.LookAt(number=number, target=b"t" * 16, kind="reach", seconds=0, ends=ends)


def test_each_address_is_tried_and_told_once() -> None:
    said: list[to_broker.Seen] = []
    node = Reaching(b"n" * 16, said.append)
    assert node.deadline() == math.inf
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        node.begin(asked(1, f"tcp://127.0.0.1:{port}", "tcp://127.0.0.1:1"), 0.0)
        node.begin(asked(1), 0.0)  # the question again
        now = 0.0

        def ticked() -> bool:
            nonlocal now
            now = node.deadline()
            node.tick(now)
            return bool(said)

        assert node.deadline() < 1.0, "its node looks again soon"
        eventually(ticked)
    node.tick(math.inf)
    (seen,) = said
    assert (seen.number, seen.error, node.deadline()) == (1, "", math.inf)
    (open_, closed) = read_reached(seen.data).ends
    assert open_ == (f"tcp://127.0.0.1:{port}", True, f"127.0.0.1:{port} takes connections")
    assert closed[1] is False and "refuses the connection" in closed[2]


def test_looks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "MOST", 0)
    said: list[Any] = []
    Reaching(b"n" * 16, said.append).begin(asked(1), 0.0)
    assert "ask again in some seconds" in said[0].error


@pytest.mark.parametrize("value", [[[["a", True]]], [[["a", 1, "b"]]], [["a"]], ["a"], [], 1])
def test_what_no_node_says_is_unreadable(value: Any) -> None:
    with pytest.raises(Unreadable):
        read_reached(pack(value))
