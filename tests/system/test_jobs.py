"""What is said of a job as a whole: cancel, time-out, retries, clients that leave."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, Task
from zturbo.errors import (
    JobCancelled,
    JobTimeout,
    NondeterministicStage,
    ResultsLost,
    TaskError,
    UsageError,
)


def test_cancel_ends_a_running_process_and_is_no_strike(tmp_path: Path) -> None:
    with Cluster({"p": [stage("hang", "Hang", 1)]}) as cluster, cluster.client() as client:
        job = client.submit(Task(7), pipeline="p")
        eventually(lambda: job.status()["state"] == "running")
        pid = cluster.child("p.hang").pid
        eventually(lambda: bool(cluster.child("p.hang").running_note.read()))
        began = time.monotonic()
        assert job.cancel()
        with pytest.raises(JobCancelled):
            job.result(timeout=20)
        assert client.submit(Task(1), pipeline="p").result(timeout=20) == [1]
        print(f"the next job was done {time.monotonic() - began:.2f} s after the cancel")
        assert cluster.child("p.hang").pid != pid
        job = client.submit(Task(7), pipeline="p")
        eventually(lambda: bool(cluster.child("p.hang").running_note.read()))
        assert not job.status()["incidents"], "no strike was carried over"


def test_a_map_stays_in_the_list_and_its_failed_tasks_can_be_run_again(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stages = [stage("odd", "Odd", 1), stage("gate", "Gate", 1, path=str(gate))]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        gate.touch()
        assert list(client.map(["a", "raise", "b"], "p", name="odd", on_error="skip")) == ["a", "b"]
        assert list(client.map(["c", "d"], "p", name="sound")) == ["c", "d"]
        gate.unlink()
        left = client.map(["e", "f"], "p", name="left")
        eventually(lambda: bool([job for job in client.jobs() if job["name"] == "left"]))
        left.close()
        gate.touch()
        with cluster.client() as other:

            def numbers() -> list[tuple[str, str, int, int]]:
                return [(job["name"], job["state"], job["results"], job["failed"]) for job in other.jobs()]

            eventually(lambda: all(job[1] != "running" for job in numbers()))
            assert numbers() == [("odd", "done", 2, 1), ("sound", "done", 2, 0), ("left", "cancelled", 0, 0)]
            again = other.attach("odd", from_start=True)
            assert [str(task.content) for task in again.failed] == ["raise"]
            assert [task.content for task in again.retry_failed().failed] == ["raise"]
            with pytest.raises(ResultsLost, match="not kept"):
                other.attach("sound", from_start=True).result(60)
            sound = client.jobs("sound")[0]["id"]
            eventually(lambda: not [*cluster.state.rglob(f"{sound}*")])
            assert [*cluster.state.rglob(f"{again.id}*")], "this one's results are there still"


def test_cancel_ends_a_generator_at_its_next_yield() -> None:
    with Cluster({"p": [stage("count", "SlowCount", 1)]}) as cluster, cluster.client() as client:
        job = client.submit(Task(10**6), pipeline="p")
        stream = job.stream(timeout=20)
        assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
        pid = cluster.child("p.count").pid
        assert job.cancel()
        assert client.submit(Task(3), pipeline="p").result(timeout=20) == [0, 1, 2]
        assert cluster.child("p.count").pid == pid


def test_cancel_frees_what_is_queued(tmp_path: Path) -> None:
    path = tmp_path / "log"
    stages = [
        stage("count", "Count"),
        stage("log", "Log", 2, path=str(path), seconds=0.3),
        stage("last", "Add"),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        job = client.submit(Task(1000), pipeline="p")  # minutes of work, in every queue
        next(job.stream(timeout=20))
        assert job.cancel()
        assert client.submit(Task(3), pipeline="p").result(timeout=20) == [1, 2, 3]
    done = path.read_text().split()
    assert sorted(done[-3:]) == ["0", "1", "2"], "nothing of the first job was begun later"
    assert len(done) < 30


def test_the_higher_priority_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "order"
    with Cluster({"p": [stage("log", "Log", 1, path=str(path), seconds=0.001)]}) as cluster:
        with cluster.client() as client, cluster.client() as other:
            low = client.map(range(20_000), pipeline="p", priority=0)
            next(low)
            high = other.map(range(100_000, 101_000), pipeline="p", priority=5)
            assert list(high) == list(range(100_000, 101_000))
            done = [int(word) for word in path.read_text().split()]
            low.close()
    begin, end = done.index(100_000), done.index(100_999)
    between = [value for value in done[begin:end] if value < 100_000]
    print(f"{len(between)} tasks of the lower priority between 1000 of the higher")
    assert len(between) < 700


def test_a_job_over_its_time() -> None:
    with Cluster({"p": [stage("hang", "Hang", 1)]}) as cluster, cluster.client() as client:
        job = client.submit(Task(7), pipeline="p", timeout=1.0)
        with pytest.raises(JobTimeout, match="not complete within its time-out of 1 s"):
            job.result(timeout=20)
        assert client.submit(Task(1), pipeline="p", timeout=60.0).result(timeout=20) == [1]


@pytest.mark.parametrize(
    "options, said",
    [
        ({"timeout": 0}, "'timeout' is to be seconds, more than 0"),
        ({"timeout": "1"}, "'timeout' is to be of type float"),
        ({"max_retry": -1}, "'max_retry' is to be 0 or more"),
        ({"max_retry": 1, "order": "none"}, "needs an order"),
        ({"tmeout": 1}, "unknown job option 'tmeout'; there are: durability"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], said: str) -> None:
    with Cluster({"p": [stage("add", "Add")]}, workers=False) as cluster, cluster.client() as client:
        with pytest.raises(UsageError, match=said):
            client.submit(Task(1), pipeline="p", **options)


def test_a_job_is_retried_for_its_failed_tasks(tmp_path: Path) -> None:
    stages = [stage("count", "Count"), stage("flaky", "Flaky", path=str(tmp_path / "f"), times=2)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        job = client.submit(Task(6), pipeline="p", max_retry=2)
        result = job.result(timeout=30)
        assert list(result) == [0, 1, 2, 3, 4, 5]
        assert not result.failed_tasks
        assert [text for text in job.status()["incidents"] if "retry" in text] == [
            "1 tasks failed: retry 1",
            "1 tasks failed: retry 2",
        ]


@pytest.mark.parametrize("options", [{}, {"fail_fast": True}, {"order": "roots"}])
def test_a_retry_of_what_is_not_deterministic_gives_one_run_of_it(
    options: dict[str, bool], tmp_path: Path
) -> None:
    """No result of the first run, in which a task failed, is among those of the second one."""
    flaky = stage("flaky", "Flaky", path=str(tmp_path / "f"), times=1)
    with Cluster({"p": [stage("count", "Count"), flaky, stage("wild", "Wild")]}) as cluster:
        with cluster.client() as client:
            result = client.submit(Task(6), pipeline="p", max_retry=1, **options).result(timeout=30)
        assert not result.failed_tasks
        assert sorted({content[0] for content in result}) == [0, 1, 2, 3, 4, 5]
        executions = {(content[0], content[1]): content[3] for content in result}
        assert len(executions) == 6 and sum(executions.values()) == len(result), "one of each, and whole"


def test_retries_that_do_not_help_give_the_failure(tmp_path: Path) -> None:
    stages = [stage("count", "Count"), stage("flaky", "Flaky", path=str(tmp_path / "f"), times=99)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        result = client.submit(Task(6), pipeline="p", max_retry=1).result(timeout=30)
        assert list(result) == [0, 1, 2, 4, 5]
        (failed,) = result.failed_tasks
        assert isinstance(failed.error, TaskError)


def test_one_execution_of_a_task_that_changes(tmp_path: Path) -> None:
    stages = [stage("wild", "Wild", 2), stage("add", "Log", 2, path=str(tmp_path / "log"), seconds=0.002)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        stream = client.map(range(400), pipeline="p")
        got = [next(stream) for _ in range(20)]
        cluster.kill("p.wild")
        got += [next(stream) for _ in range(20)]
        cluster.kill("p.add")
        got += list(stream)
        at = 0
        for value in range(400):
            _, execution, _, count = got[at]
            assert got[at : at + count] == [[value, execution, i, count] for i in range(count)]
            at += count
        assert at == len(got)


def test_a_task_that_changes_above_an_ordered_stage() -> None:
    """Nothing is given out before the job is complete, since a job that starts over has others to give."""
    stages = [stage("wild", "Wild", 2), stage("ordered", "Ordered", 2)]
    n = 300
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        stream = client.map(range(n), pipeline="p")
        first: list[object] = []
        reader = threading.Thread(target=lambda: first.append(next(stream)))
        reader.start()
        (status,) = client.jobs()
        eventually(lambda: client.jobs()[0]["counts"][1]["done"] > 50)
        cluster.kill("p.wild")
        for child in [child for child in cluster.node.children if child.what.name == "p.ordered"]:
            os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: client.jobs()[0]["epoch"] > 1)
        reader.join()
        # The sink has all of it. The broker hears that at about the same time as the first result is here.
        eventually(lambda: client.jobs(status["id"])[0]["state"] == "done")
        got = [*first, *stream]
        numbers = [number for _, number in got]
        assert numbers == list(range(len(got)))
        at = 0
        for value in range(n):
            _, execution, _, count = got[at][0]
            assert [content for content, _ in got[at : at + count]] == [
                [value, execution, i, count] for i in range(count)
            ]
            at += count
        assert at == len(got)


def test_an_execution_that_did_not_end_is_as_good_as_none(tmp_path: Path) -> None:
    stages = [stage("changing", "Changing", path=str(tmp_path / "times"), hangs=True), stage("log", "Add", 1)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        job = client.submit(Task(0), pipeline="p")
        stream = job.stream(timeout=30)
        next(stream)
        cluster.kill("p.changing")
        eventually(lambda: (tmp_path / "times").read_text() == "xx")
        # The first execution never said how much it gave, so the second is as good as the first.
        assert len(list(stream)) == 101


def test_a_stage_that_changes_without_saying_so_fails_its_job_by_name(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stages = [
        stage("changing", "Changing", path=str(tmp_path / "times"), least=5),
        stage("gate", "Gate", path=str(gate), below=3),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        gate.touch()
        assert client.submit(Task(0), pipeline="p").result(timeout=60) == list(range(6)), "all links stand"
        gate.unlink()
        job = client.submit(Task(0), pipeline="p")
        stream = job.stream(timeout=60)
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        eventually(lambda: job.status()["counts"][0]["done"] == 7)
        cluster.kill("p.changing")  # it has ended with 7 outputs, four of which are not acked
        with pytest.raises(NondeterministicStage, match="7"):
            list(stream)


def test_clients_keep_apart(tmp_path: Path) -> None:
    with Cluster({"p": [stage("add", "Add", 2)]}) as cluster:
        with cluster.client() as one, Client(cluster.address) as two:
            first, second = one.map(range(2000), pipeline="p"), two.map(range(5000, 7000), pipeline="p")
            got = [next(first) for _ in range(10)]
            other = [next(second) for _ in range(10)]
            assert got + list(first) == list(range(1, 2001))
            assert other + list(second) == list(range(5001, 7001))
            assert Job("x", Task(1)).id != Job("x", Task(1)).id


def test_small_jobs_pass_a_large_one() -> None:
    with Cluster({"p": [stage("add", "Add", 1)]}) as cluster, cluster.client() as client:
        stop = threading.Event()

        def large() -> None:
            with cluster.client() as other:
                for _ in other.map(range(10**6), pipeline="p", name="large"):
                    if stop.is_set():
                        break

        thread = threading.Thread(target=large)
        thread.start()
        eventually(lambda: any(job["results"] for job in client.jobs()))
        began = time.monotonic()
        for number in range(10):
            assert list(client.map(range(20), pipeline="p", name=f"small-{number}")) == list(range(1, 21))
        took = time.monotonic() - began
        assert any(job["name"] == "large" and job["state"] == "running" for job in client.jobs())
        stop.set()
        thread.join()
        print(f"ten small jobs beside one of a million tasks: {took:.2f} s")
