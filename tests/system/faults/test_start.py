"""Workers that are missing or cannot start: who waits for them is told why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.sums import PIPELINE
from zturbo import Job, Task

MENDED = """
from zturbo import Stage
class S(Stage):
    def process(self, task):
        return task
"""


def test_why_a_stage_does_not_start_is_told_in_any_case() -> None:
    with Cluster({"p": [stage("odd", "tests.stages.odd:OddInit")]}) as cluster:
        with cluster.client() as client:
            job = client.submit(Task(1), pipeline="p")
            eventually(lambda: "Panic: cannot read caf\\udce9.mp4" in str(job.status()["waiting"]))


def test_a_worker_that_dies_before_its_first_task_again_and_again_is_told() -> None:
    odd = stage("odd", "tests.stages.odd:DeadlyStart")
    with Cluster({"p": [odd]}) as cluster, cluster.client() as client:
        job = client.submit(Task(1), pipeline="p")
        eventually(lambda: "died before it ran a task, again and again" in str(job.status()["waiting"]))
        assert "exit code 9" in str(job.status()["waiting"])
        assert "it is tried again every 30 s" in str(job.status()["waiting"])


def test_a_stage_that_crashes_at_every_start_is_told_and_recovers(tmp_path: Path) -> None:
    code = tmp_path / "crashing_stage.py"
    code.write_text("import os\nos.abort()\n")
    with Cluster({"p": [stage("crash", f"{code.stem}:S")]}, path=str(tmp_path)) as cluster:
        with cluster.client() as client:
            job = client.submit(Task(1), pipeline="p")
            eventually(lambda: "SIGABRT" in str(job.status()["waiting"]))
            assert "died before it was ready" in str(job.status()["waiting"])
            seat = next(seat for seat in cluster.node.seats if seat.what.name == "p.crash")
            eventually(lambda: "it is tried again every 30 s" in str(job.status()["waiting"]))
            eventually(lambda: seat.restarts.broken)
            code.write_text(MENDED)
            assert seat.start_at is not None
            seat.start_at = 0.0  # instead of waiting for half a minute
            assert job.result(timeout=20) == [1]


def test_a_job_for_a_stage_without_workers_waits_and_says_so() -> None:
    with Cluster({"p": PIPELINE}, workers=False) as cluster, cluster.client() as client:
        job = client.submit(Job("early", Task(1)), pipeline="p")
        assert job.status()["state"] == "waiting"
        assert job.status()["waiting"] == "a worker of stage p.add"
        from zturbo.deploy.children import worker_children

        for name in ("p.add", "p.slow", "p.sum"):
            for child in worker_children(cluster.network, name):
                cluster.node.add(child)
        assert job.result(timeout=30) == [2]


def test_a_stage_that_cannot_start_is_told_to_all() -> None:
    with Cluster({"p": [stage("bad", "BadInit")]}) as cluster, cluster.client() as client:
        job = client.submit(Task(1), pipeline="p")
        eventually(lambda: "no model file" in str(job.status()["waiting"]))
        assert "a worker of stage p.bad" in job.status()["waiting"]
        assert "no model file" in client.pipelines()[0]["problems"]["bad"]
        assert any(kind == "failed" and "no model file" in text for kind, _, text in cluster.events)
        seat = next(seat for seat in cluster.node.seats if seat.what.name == "p.bad")
        eventually(lambda: seat.restarts.broken)
        starts = sum(kind == "started" and name == "p.bad" for kind, name, _ in cluster.events)
        assert starts <= 4, "it is not started again in a busy loop"


@pytest.mark.parametrize(
    "cls, said",
    [
        ("tests.stages.nowhere:X", "No module named 'tests.stages.nowhere'"),
        ("tests.stages.basic:Nope", "has no 'Nope'; its Stages are: Add"),
        ("tests.stages.basic:NotAStage", "is neither a subclass of zturbo.Stage nor a function"),
    ],
)
def test_a_class_that_does_not_import(cls: str, said: str) -> None:
    with Cluster({"p": [stage("bad", cls)]}) as cluster:
        eventually(lambda: any(kind == "failed" and said in text for kind, _, text in cluster.events))
