"""The ledger as a file: copied while its broker runs, moved with its jobs, damaged."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, eventually, stage
from zturbo import Job, Task

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"


def pipelines(folder: Path) -> dict[str, list[dict[str, object]]]:
    return {"p": [stage("count", "Count"), stage("log", "Log", 2, path=str(folder / "log"), seconds=0.005)]}


def stop(cluster: Cluster) -> None:
    """All of it, but its state stays."""
    cluster.node.stop()
    cluster.thread.join()


def back_up(ledger: Path, copy: Path) -> None:
    """By the command that the page shows."""
    (command,) = re.findall(r"```sh\n(python3 -c .*) ledger\.db copy\.db\n```", PAGE.read_text())
    command = command.replace("python3", sys.executable, 1)
    subprocess.run(["bash", "-c", f"{command} {ledger} {copy}"], check=True, timeout=60)


def test_a_backup_that_was_made_while_the_broker_runs(tmp_path: Path) -> None:
    copy, state = tmp_path / "copy.db", tmp_path / "state"
    with Cluster(pipelines(tmp_path)) as cluster, cluster.client() as client:
        job = client.submit(Job("copied", Task(1000)), pipeline="p")
        stream = job.stream(timeout=60)
        got = [next(stream) for _ in range(50)]
        back_up(cluster.state / "ledger.db", copy)
        got += list(stream)
        assert got == list(range(1000))
        assert client.submit(Task(7), pipeline="p").result(timeout=20) == list(range(7))
    state.mkdir()
    shutil.move(copy, state / "ledger.db")
    with Cluster(pipelines(tmp_path), state=state, lease=1.0) as cluster, cluster.client() as client:
        (known,) = client.jobs()
        assert known["name"] == "copied", "what came after the copy is unknown"
        assert client.attach(job.id).result(timeout=60) == list(range(1000))


def test_a_ledger_that_moves(tmp_path: Path) -> None:
    state = tmp_path / "elsewhere"
    with Cluster(pipelines(tmp_path)) as cluster, cluster.client() as client:
        done = client.submit(Task(7), pipeline="p")
        assert done.result(timeout=20) == list(range(7))
        job = client.submit(Task(1000), pipeline="p")
        stream = job.stream(timeout=60)
        assert [next(stream) for _ in range(50)] == list(range(50))
        stop(cluster)
        shutil.copytree(cluster.state, state)
    with Cluster(pipelines(tmp_path), state=state) as cluster, cluster.client() as client:
        assert cluster.address == f"ipc://{state}/broker"
        moved = client.attach(job.id)
        assert moved.result(timeout=60) == list(range(1000))
        assert moved.status()["epoch"] == 1, "it went on, and did not start over"
        assert client.attach(done.id).result(timeout=20) == list(range(7))


@pytest.mark.parametrize("change", ["UPDATE job SET epoch = epoch + 1", "UPDATE meta SET value = x'00'"])
def test_a_broker_does_not_start_on_a_damaged_ledger(change: str, tmp_path: Path) -> None:
    state = tmp_path / "damaged"
    with Cluster(pipelines(tmp_path)) as cluster, cluster.client() as client:
        assert client.submit(Task(7), pipeline="p").result(timeout=20) == list(range(7))
        stop(cluster)
        shutil.copytree(cluster.state, state)
    ledger = sqlite3.connect(state / "ledger.db")
    ledger.execute(change)
    ledger.commit()
    ledger.close()
    with Cluster(pipelines(tmp_path), state=state, workers=False) as cluster:
        eventually(lambda: any(kind == "failed" for kind, *_ in cluster.events))
        (text,) = {text for kind, name, text in cluster.events if kind == "failed" and name == "broker"}
        assert f"the ledger {state / 'ledger.db'} is damaged" in text and "restore it from a backup" in text
