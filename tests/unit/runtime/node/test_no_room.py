"""A host that has no room for one more process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from zturbo.errors import StartError
from zturbo.runtime.node import node as nodes
from zturbo.runtime.node.children import Child, ChildSpec
from zturbo.runtime.node.node import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(f"ipc://{tmp_path}/broker", host="here")
    made.add(ChildSpec("worker", "p.s", "zturbo.runtime.members.worker"))
    yield made
    made.close()


def refuse(*_: Any) -> None:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_where_nothing_has_run_yet_it_is_an_error(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "Child", refuse)
    with pytest.raises(StartError, match=r"started for p\.s: BlockingIOError.*unavailable.*ulimit -a"):
        node.run()


def test_where_others_run_they_go_on(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nodes, "Child", refuse)
    node.seats[0].ready_at = 1.0
    rounds = iter(range(3))
    node.run(lambda: next(rounds, None) is None)
    assert "no process can be started for p.s" in caplog.text and "tried again" in caplog.text
    assert node.seats[0].start_at and len(node._reports) == len(caplog.records)


@pytest.mark.parametrize("what", ["pidfd_open", "memfd_create"])
def test_a_process_that_cannot_be_watched_leaves_nothing(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    me = psutil.Process()
    before = me.num_fds(), me.children()
    monkeypatch.setattr(os, what, refuse)
    with pytest.raises(BlockingIOError):
        Child(ChildSpec("worker", "p.s", "zturbo.runtime.members.worker"), b"i" * 16)
    assert (me.num_fds(), me.children()) == before


def test_a_child_is_not_taken_for_stopped_where_nothing_can_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = Child.__new__(Child)
    child.pid = os.getpid()
    assert not child.frozen()
    monkeypatch.setattr(Path, "read_text", refuse)
    assert not child.frozen()
