"""Pipelines of real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, Task
from zturbo.errors import (
    BrokerUnavailable,
    JobCancelled,
    JobConflict,
    ResultTimeout,
    TaskError,
    TooLarge,
    UnknownPipeline,
    UsageError,
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pipelines = {
        "add": [stage("a", "Add"), stage("b", "Add", 2), stage("c", "Add")],
        "count": [stage("count", "Count"), stage("add", "Add", 2)],
        "sum": [stage("count", "Count"), stage("add", "Add", 2), stage("sum", "Sum"), stage("more", "Add")],
        "odd": [stage("odd", "Odd"), stage("after", "Odd")],
        "ordered": [stage("odd", "Odd", 2), stage("ordered", "Ordered")],
        "array": [stage("array", "Array", 2)],
        "meta": [stage("meta", "Meta"), stage("again", "Meta")],
        "empty": [stage("gate", "Gate", path="/nowhere")],
    }
    with Cluster(pipelines, max_task_bytes=1_000_000) as running:
        yield running


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as connected:
        yield connected


def test_a_job_of_one_task(client: Client) -> None:
    job = client.submit(Job("one", Task(1)), pipeline="add")
    assert job.result(timeout=20) == [4]
    eventually(job.done)
    assert job.status()["state"] == "done"


def test_fan_out_in_order(client: Client) -> None:
    job = client.submit(Job("many", Task(5000)), pipeline="count")
    assert list(job.stream(timeout=30)) == list(range(1, 5001))


def test_a_hundred_thousand_children(client: Client) -> None:
    result = client.submit(Task(100_000), pipeline="count").result(timeout=60)
    assert result == list(range(1, 100_001)) and not result.failed_tasks


def test_map_in_order(client: Client) -> None:
    assert list(client.map(range(20_000), pipeline="add")) == list(range(3, 20_003))


def test_map_without_order(client: Client) -> None:
    got = list(client.map(range(5_000), pipeline="add", ordered=False))
    assert sorted(got) == list(range(3, 5_003))


def test_map_of_nothing(client: Client) -> None:
    assert list(client.map([], pipeline="add")) == []


def test_closing_a_map_ends_its_job(client: Client) -> None:
    stream = client.map(iter(int, 1), pipeline="add", name="endless")
    assert [next(stream) for _ in range(100)] == [3] * 100
    stream.close()  # type: ignore[attr-defined]
    assert [job["state"] for job in client.jobs() if job["name"] == "endless"] == ["cancelled"]


def test_what_the_iterable_raises_comes_out(client: Client) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("the source is broken")

    with pytest.raises(LookupError, match="the source is broken"):
        list(client.map(broken(), pipeline="add"))


def test_an_ordered_stage_between_others(client: Client) -> None:
    expected, total = [], 0
    for i in range(2000):
        total = (total * 31 + i + 1) % 1_000_003
        expected.append(total + 1)
    jobs = [client.submit(Task(2000), pipeline="sum") for _ in range(4)]
    for job in jobs:
        assert job.result(timeout=60) == expected


@pytest.mark.parametrize("durability", ["fsync", "process", "memory"])
def test_durability_modes(client: Client, durability: str) -> None:
    assert list(client.map(range(500), pipeline="add", durability=durability)) == list(range(3, 503))


def test_arrays_travel(client: Client) -> None:
    small = np.zeros((3, 4), np.uint8)
    large = np.arange(600 * 400, dtype=np.uint8).reshape(600, 400)
    out = list(client.map([small, large, large[::2, ::2]], pipeline="array"))
    for given, got in zip([small, large, large[::2, ::2]], out, strict=True):
        assert np.array_equal(given + np.uint8(1), got)


def test_meta_is_inherited(client: Client) -> None:
    tasks = list(client.submit(Task("x"), pipeline="meta").tasks(20))
    assert len(tasks) == 1 and isinstance(tasks[0].meta["seen"], int)


def test_meta_of_the_root_travels(client: Client) -> None:
    (task,) = client.submit(Task(1, {"who": "me"}), pipeline="add").tasks(20)
    assert task.meta == {"who": "me"} and task.content == 4


@pytest.mark.parametrize("how", ["submit", "map"])
def test_a_root_over_the_limit_is_refused_before_it_is_sent(client: Client, how: str) -> None:
    with pytest.raises(TooLarge, match=r"2,000,0.. bytes is over the message limit of 1,000,000 bytes"):
        if how == "submit":
            client.submit(Task(b"x" * 2_000_000), pipeline="odd")
        else:
            list(client.map([b"small", b"x" * 2_000_000], pipeline="odd"))


# -- what stages may do wrong -----------------------------------------------------------------


def failure(client: Client, content: object, pipeline: str = "odd") -> Task:
    result = client.submit(Task(content), pipeline=pipeline).result(timeout=20)
    assert len(result.failed_tasks) == 1
    return result.failed_tasks[0]


def test_a_stage_that_raises(client: Client) -> None:
    task = failure(client, "raise")
    assert not task.success and isinstance(task.error, TaskError)
    assert "ValueError: on purpose" in str(task.error) and "stage odd" in str(task.error)
    assert "in process" in task.error.traceback


def test_sys_exit_fails_its_task_and_ends_no_worker(client: Client, cluster: Cluster) -> None:
    task = failure(client, "exit")
    assert "SystemExit: 3" in str(task.error) and "sys.exit(3)" in str(getattr(task.error, "traceback", ""))
    assert not [event for event in cluster.events if event[0] == "exited" and event[1].endswith(".odd")]


def test_a_stage_that_gives_nothing(client: Client) -> None:
    result = client.submit(Task("none"), pipeline="odd").result(timeout=20)
    assert result == [] and result.failed_tasks == []


@pytest.mark.parametrize("content, said", [("five", "returned 5"), ("string", "returned 'text'")])
def test_a_stage_that_returns_no_task(client: Client, content: str, said: str) -> None:
    error = str(failure(client, content).error)
    assert "Odd.process" in error and said in error and "it is to return a Task" in error


def test_a_stage_that_yields_no_task(client: Client) -> None:
    result = client.submit(Task("yields five"), pipeline="odd").result(timeout=20)
    error = str(result.failed_tasks[0].error)
    assert result == ["first"] and "yielded 5" in error and "it is to yield Tasks alone" in error


def test_a_content_that_cannot_be_carried(client: Client) -> None:
    assert "object cannot be carried" in str(failure(client, "unpackable").error)


@pytest.mark.parametrize("content", ["large", "long text"])
def test_a_task_over_the_limit(client: Client, content: str) -> None:
    assert "2,000,0" in str(failure(client, content).error)
    got = list(client.map([*"abcdefgh", content, "i"], pipeline="odd", on_error="skip"))
    assert got == list("abcdefghi"), "its neighbours are whole"
    assert client.submit(Task("fine"), pipeline="odd").result(timeout=20) == ["fine"]


def test_drops_and_failures_leave_no_gap_in_the_order(client: Client) -> None:
    contents = ["a", "none", "b", "raise", "c", "five", "none", "d"]
    got = list(client.map(contents, pipeline="ordered", on_error="return"))
    assert [item for item in got if not isinstance(item, TaskError)] == [
        ["a", 0],
        ["b", 1],
        ["c", 2],
        ["d", 3],
    ]
    assert [isinstance(item, TaskError) for item in got] == [False, False, True, False, True, False]


def test_map_raises_at_the_place_of_a_failure(client: Client) -> None:
    got = []
    with pytest.raises(TaskError, match="on purpose"):
        for content in client.map(["a", "b", "raise", "c"], pipeline="odd"):
            got.append(content)
    assert got == ["a", "b"]


# -- asking -----------------------------------------------------------------------------------


def test_an_unknown_pipeline(client: Client) -> None:
    with pytest.raises(UnknownPipeline, match="no pipeline 'nope' here; this broker has: add, array"):
        client.submit(Task(1), pipeline="nope")


def test_an_unknown_option(client: Client) -> None:
    with pytest.raises(UsageError, match="unknown job option 'speed'"):
        client.submit(Task(1), pipeline="add", speed=11)


def test_a_repeated_submit_is_one_job(client: Client) -> None:
    job = Job("twice", Task(1))
    first = client.submit(job, pipeline="add")
    second = client.submit(job, pipeline="add")
    assert first.id == second.id and second.result(timeout=20) == [4]
    assert len([one for one in client.jobs() if one["id"] == job.id]) == 1
    job.task = Task(2)
    with pytest.raises(JobConflict, match="other content"):
        client.submit(job, pipeline="add", wait=True)
    refused = client.submit(job, pipeline="add")
    for call in (refused.result, refused.accepted, refused.status, refused.cancel, refused.release):
        with pytest.raises(JobConflict, match="other content"):
            call()
    assert isinstance(refused.exception(timeout=20), JobConflict)


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="zturbo up FILE"):
        Client(f"ipc://{tmp_path}/nobody", timeout=0.3)


def test_attach_from_another_process(cluster: Cluster, client: Client) -> None:
    job = client.submit(Job("shared", Task(1000)), pipeline="count")
    assert job.result(timeout=20) == list(range(1, 1001))
    code = (
        "import sys; from zturbo import Client\n"
        f"with Client({cluster.address!r}, timeout=20) as client:\n"
        f"    print(sum(client.attach({job.id!r}).result(timeout=20)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(sum(range(1, 1001)))


def test_a_result_that_does_not_come_in_time(client: Client) -> None:
    job = client.submit(Task(1), pipeline="empty")
    with pytest.raises(ResultTimeout):
        job.result(timeout=0.2)
    assert job.cancel()
    with pytest.raises(JobCancelled):
        job.result(timeout=20)
    eventually(job.done)
