"""Children are started before the node's broker is ready, and connect to it when it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zturbo.runtime.node.children import ChildSpec
from zturbo.runtime.node.node import Node

PLAYED = """
import os, pathlib, time
from zturbo.runtime.process.childside import ChildSide
side = ChildSide.open()
if side.spec.get("loaded"):
    pathlib.Path(side.spec["loaded"]).touch()
side.wait_to_go()
go = side.spec.get("go")
while go and not os.path.exists(go):
    time.sleep(0.01)
side.ready()
time.sleep(600)
"""


def test_children_begin_when_the_broker_is_ready(tmp_path: Path) -> None:
    (tmp_path / "played.py").write_text(PLAYED)
    go = tmp_path / "go"
    events: list[tuple[str, str]] = []
    node = Node(
        f"ipc://{tmp_path}/broker",
        host="here",
        on_event=lambda kind, child, text: events.append((kind, child.what.name)),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        broker_first=True,
    )
    try:
        node.add(ChildSpec("broker", "broker", "played", {"go": str(go)}))
        node.add(ChildSpec("sink", "sink", "played"))
        node.run(lambda: len(node.children) == 2)
        assert [child.waits for child in node.children] == [False, True]
        assert events == [("started", "broker")]
        go.touch()
        node.run(lambda: node.ready)
        others = [event for event in events if event[1] == "sink"]
        assert events == [("started", "broker"), ("ready", "broker"), *others]
        assert others == [("started", "sink"), ("ready", "sink")]
    finally:
        node.stop()
        node.stop()
        node.run()
        node.close()


def test_the_broker_keeps_a_cpu_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "played.py").write_text(PLAYED)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    node = Node(f"ipc://{tmp_path}/broker", host="here", env=env, broker_first=True)
    try:
        node.add(ChildSpec("broker", "broker", "played", {"go": str(tmp_path / "go")}))
        for name in ("one", "two"):
            node.add(ChildSpec("sink", name, "played"))
        rounds = iter((False, False, True))
        node.wake()
        node.run(lambda: next(rounds))
        assert [child.what.name for child in node.children] == ["broker", "one"]
        (tmp_path / "go").touch()
        node.run(lambda: node.ready)
        assert [child.what.name for child in node.children] == ["broker", "one", "two"]
    finally:
        node.stop()
        node.stop()
        node.run()
        node.close()


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_worker_loads_its_code_before_the_broker_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    (tmp_path / "played.py").write_text(PLAYED)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(cpus)})
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    events: list[tuple[str, str]] = []
    node = Node(
        f"ipc://{tmp_path}/broker",
        host="here",
        on_event=lambda kind, child, text: events.append((kind, child.what.name)),
        env=env,
        broker_first=True,
    )
    loaded, go = tmp_path / "loaded", tmp_path / "go"
    try:
        node.add(ChildSpec("broker", "broker", "played", {"go": str(go)}))
        node.add(ChildSpec("sink", "sink", "played"))
        for name in ("one", "two"):
            node.add(ChildSpec("worker", name, "played", {"loaded": str(loaded)} if name == "one" else {}))
        node.wake()
        began = ["broker"] if cpus == 1 else ["one", "broker"]
        node.run(lambda: events == [("started", name) for name in began] and loaded.exists() == (cpus > 1))
        assert sorted(child.what.name for child in node.children) == sorted(began)
        assert not any(child.is_ready for child in node.children), "it does not connect yet"
        go.touch()
        node.run(lambda: node.ready)
        assert [kind for kind, name in events if name == "one"] == ["started", "ready"]
        assert events.index(("ready", "broker")) < events.index(("ready", "one"))
    finally:
        node.stop()
        node.stop()
        node.run()
        node.close()
