"""Small jobs that are submitted at once travel together, and each is a job all the same."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, JobHandle, Task
from zturbo.cli import main
from zturbo.errors import JobCancelled, UsageError

N = 300


def submit(client: Client, contents: list[int]) -> list[JobHandle]:
    """A job of each content, of which most travel together."""
    assert len(client.submit(Task(0), pipeline="p").result(60)) < 2, "all stages are there"
    first = client.submit(Task(0), pipeline="p")
    jobs = client.submit_many([Job("j", Task(content)) for content in contents], "p")
    client.flush(60)
    first.result(60)
    assert max(job["carries"] for job in client.jobs()) >= 16, "they travel together"
    return jobs


def test_each_gets_its_own_results_in_its_own_time(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stages = [stage("gate", "Gate", 2, path=str(gate), below=500), stage("count", "Count", 1)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        jobs = submit(client, [500 if n == 150 else n % 4 for n in range(N)])
        slow = jobs.pop(150)
        eventually(lambda: all(job.done() for job in jobs))
        assert jobs[7].status()["state"] == "done" and slow.status()["state"] == "running"
        assert not jobs[7].running() and not jobs[7].cancel(), "it has ended, and the others have not"
        for job in client.as_completed(jobs, timeout=60):
            assert job.done()
        assert sorted(job.result(60) for job in jobs) == sorted(
            list(range(n % 4)) for n in range(N) if n != 150
        )
        assert [job.result(60) for job in jobs[:150]] == [list(range(n % 4)) for n in range(150)]
        assert not slow.done(), "a slow one holds up no other"
        with cluster.client() as other:
            early = other.attach(jobs[7].id)
            eventually(early.done)  # its sink tells the broker, before all have ended
            assert early.status()["results"] == len(jobs[7].result()) and not early.cancel()
            assert other.attach(slow.id).status()["results"] == 0
            carrier = slow.status()["carrier"]

            def running() -> int:
                rows = [row for row in other.jobs() if carrier in (row["id"], row["carrier"])]
                return sum((row["carries"] or 1) - row["over"] for row in rows if row["state"] == "running")

            eventually(lambda: running() == 1)
            assert early.result(60) == jobs[7].result()
            with pytest.raises(UsageError):
                other.attach("f" * 32)
        gate.touch()
        assert slow.result(60) == list(range(500))
        again = client.attach(slow.id)
        assert again.result(60) == list(range(500)) and again.status()["state"] == "done"
        job = Job("j", Task(3))
        more = client.submit_many([job, *(Job("j", Task(1)) for _ in range(40))], "p")
        assert more[0].id == job.id
        reader = more[0].stream(60)
        assert next(reader) == 0
        assert client.submit(job, "p").result(60) == [0, 1, 2], "the same job once more, whose reader is slow"
        assert sum(job["carries"] or 1 for job in client.jobs()) == N + 2 + 41
        assert [one.result(60) for one in more[1:]] == [[0]] * 40
        left = [weakref.ref(one) for one in more]
        gc.disable()  # nothing of a handle is left for it
        try:
            more.clear()
            assert not any(one() for one in left)
        finally:
            gc.enable()


def test_jobs_of_different_names_travel_together_and_each_is_a_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Cluster({"p": [stage("count", "Count", 1)]}) as cluster, cluster.client() as client:
        assert client.submit(Task(0), pipeline="p").result(60) == [], "all stages are there"
        client.submit(Task(0), pipeline="p")
        jobs = client.submit_many([Job(f"clip-{n}", Task(n % 4)) for n in range(N)], "p")
        assert [job.result(60) for job in jobs] == [list(range(n % 4)) for n in range(N)]
        status = jobs[251].status()
        assert status["carrier"] and (status["name"], status["results"]) == ("clip-251", 3)
        eventually(lambda: all(row["state"] == "done" for row in client.jobs()))
        rows = {row["name"]: row for row in client.jobs() if row["name"].startswith("clip-")}
        assert len(rows) == N
        assert all(rows[f"clip-{n}"]["id"] == job.id for n, job in enumerate(jobs))
        assert all(rows[f"clip-{n}"]["results"] == n % 4 for n in range(N))
        with cluster.client() as other:
            assert other.attach("clip-299").result(60) == [0, 1, 2]
            assert other.attach("clip-299").name == "clip-299"
        assert main(["job", "clip-251", "--broker", cluster.address]) == 0
        assert "that travel together" in capsys.readouterr().out
        jobs[5].release()
        assert "clip-5" not in {row["name"] for row in client.jobs()}


def test_jobs_of_two_pipelines_keep_their_metas() -> None:
    stages = {"p": [stage("tag", "Tagged", 1)], "q": [stage("tag", "Tagged", 1)]}
    with Cluster(stages) as cluster, cluster.client() as client:
        for name in stages:
            assert client.submit(Task(0), pipeline=name).result(60) == [0], "all stages are there"
        client.submit(Task(0), pipeline="p")
        jobs = [
            client.submit(Job(f"{n}", Task(n, {"n": n} if n % 3 else {})), "pq"[n % 2], priority=1)
            for n in range(N)
        ]
        assert [job.name for job in jobs] == [f"{n}" for n in range(N)]
        for n, job in enumerate(jobs):
            (task,) = job.tasks(60)
            assert (task.content, task.meta.get("n")) == (n, n if n % 3 else None)
        for offset, name in enumerate(stages):
            assert any(job.status()["carrier"] for job in jobs[offset::2]), f"jobs of {name} travel together"


def test_one_is_cancelled_and_one_fails_alone(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stages = [stage("gate", "Gate", 1, path=str(gate)), stage("odd", "Odd", 1)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        gate.touch()
        assert client.submit(Task("first"), pipeline="p").result(60) == ["first"], "all stages are there"
        gate.unlink()
        client.submit(Task("first"), pipeline="p")
        contents = ["raise" if n == 40 else "none" if n == 41 else f"{n}" for n in range(60)]
        jobs = client.submit_many([Task(content) for content in contents], "p")
        client.flush(60)
        assert jobs[20].status()["carrier"]
        assert jobs[20].cancel() and jobs[20].cancelled()
        with pytest.raises(JobCancelled):
            client.attach(jobs[20].id).result(60)
        gate.touch()
        for n, job in enumerate(jobs):
            if n == 20:
                continue
            result = job.result(60)
            assert result == ([] if n in (40, 41) else [f"{n}"])
            assert [
                str(task.error) for task in result.failed_tasks if "on purpose" not in str(task.error)
            ] == []
            assert len(result.failed_tasks) == (n == 40)
        jobs[30].release()
        with pytest.raises(UsageError):
            client.attach(jobs[30].id)


@pytest.mark.parametrize("who", ["p.gate", "p.count", "sink-0", "broker"])
def test_a_death_changes_no_result(tmp_path: Path, who: str) -> None:
    gate = tmp_path / "gate"
    stages = [stage("gate", "Gate", 2, path=str(gate), below=20), stage("count", "Count", 2)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        jobs = submit(client, [n % 25 for n in range(N)])
        cluster.kill(who)
        gate.touch()
        assert [job.result(60) for job in jobs] == [list(range(n % 25)) for n in range(N)]


def test_where_jobs_have_an_order_or_a_state_they_go_one_by_one() -> None:
    with Cluster({"p": [stage("sum", "Ordered", 1)]}) as cluster, cluster.client() as client:
        assert client.submit(Task(0), pipeline="p").result(60) == [[0, 0]], "all stages are there"
        for _ in range(2):
            client.submit(Task(0), pipeline="p")
            jobs = client.submit_many([Task(n) for n in range(40)], "p")
            assert [job.result(60) for job in jobs] == [[[n, 0]] for n in range(40)]
        assert not any(job["carries"] for job in client.jobs())
