"""Handles of jobs: what concurrent.futures teaches to expect, failed tasks with their inputs, retries."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import AsyncClient, Client, Job, Task
from zturbo.client.reader import FailedTask
from zturbo.errors import (
    BrokerUnavailable,
    JobCancelled,
    JobFailed,
    ResultTimeout,
    TaskError,
    UsageError,
    WorkerLost,
)
from zturbo.jobstates import LIVE


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pipelines = {
        "add": [stage("add", "Add", 2)],
        "odd": [stage("odd", "Odd")],
        "bad": [stage("bad", "FailAll")],
        "gate": [stage("gate", "GateEach", 2)],
        "hang": [stage("hang", "Hang")],
        "count": [stage("count", "Count"), stage("picky", "Picky"), stage("sum", "Ordered")],
    }
    with Cluster(pipelines) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as client:
        yield client


@pytest.fixture
def gate(tmp_path: Path) -> str:
    """A file; tasks of "gate" wait until it is there."""
    return str(tmp_path / "open")


# -- ids and names ----------------------------------------------------------------------------
def test_an_id_is_text_and_a_name_finds_a_job(client: Client) -> None:
    job = client.submit(Job("found by its name", Task(1)), pipeline="add")
    assert type(job.id) is str and job.id in repr(job) and job.status()["id"] == job.id
    assert job.result(timeout=20) == [2]
    for name in (job.id, job.id[:20], bytes.fromhex(job.id), "found by its name"):
        assert client.attach(name, from_start=True).result(timeout=20) == [2]
        assert [one["id"] for one in client.jobs(name)] == [job.id]
    eventually(lambda: {entry["job"] for entry in client.logs(job=job.id[:20])} == {job.id})
    assert {entry["job"] for entry in client.logs(job)} == {one["id"] for one in client.jobs(job)} == {job.id}
    assert client.trace(job)["traceEvents"]


def test_ctrl_c_says_that_the_job_goes_on(
    client: Client, gate: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = client.submit(Job("goes on", Task([gate, 1])), pipeline="gate")
    eventually(job.running)
    for wait in (job.result, job.exception):
        ask = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
        ask.start()
        with pytest.raises(KeyboardInterrupt):
            wait()
        ask.join()
    said = f"job 'goes on' goes on: its handle's cancel() ends it, or 'zturbo cancel {job.id[:12]}'"
    assert [record.getMessage() for record in caplog.records] == [said, said]
    Path(gate).touch()
    assert job.result(timeout=20) == [1]


def test_a_failed_task_shows_where_it_failed_and_its_input(client: Client) -> None:
    (task,) = client.submit(Task("raise"), pipeline="odd").result(timeout=20).failed_tasks
    assert repr(task).startswith("FailedTask(") and "in stage odd on" in repr(task)
    assert repr(task).endswith("content: 'raise')")


# -- a future ---------------------------------------------------------------------------------
def test_a_job_that_ends_well(client: Client, gate: str) -> None:
    job = client.submit(Task([gate, 1]), pipeline="gate")
    assert isinstance(job, concurrent.futures.Future)
    eventually(job.running)
    assert not job.done() and not job.cancelled()
    with pytest.raises(TimeoutError):
        job.result(timeout=0.05)
    with pytest.raises(ResultTimeout, match="had not ended in time"):
        job.exception(timeout=0.05)
    Path(gate).touch()
    assert job.exception(timeout=20) is None
    assert job.done() and not job.running() and not job.cancelled()
    assert job.result(timeout=20) == [1]
    assert job.result() is job.result()
    assert not job.cancel(), "it has ended"


def test_a_job_that_is_cancelled(client: Client, gate: str) -> None:
    job = client.submit(Task([gate, 1]), pipeline="gate")
    other = client.attach(job.id)
    assert job.cancel() and job.cancel()
    assert job.cancelled() and job.done() and not job.running()
    assert other.cancelled() and other.done()
    for handle in (job, other, client.attach(job.id)):
        with pytest.raises(JobCancelled):
            handle.result(timeout=20)
        with pytest.raises(concurrent.futures.CancelledError):
            handle.exception(timeout=20)


def test_a_job_that_fails(client: Client) -> None:
    job = client.submit(Task("raise"), pipeline="odd", fail_fast=True)
    error = job.exception(timeout=20)
    assert type(error) is JobFailed
    assert "ValueError: on purpose (in stage odd on " in str(error)
    with pytest.raises(JobFailed, match="fail_fast"):
        job.result(timeout=20)
    assert job.done() and not job.cancelled()


def test_failures_are_collected_by_default(client: Client) -> None:
    job = client.submit(Task("raise"), pipeline="odd")
    assert job.exception(timeout=20) is None
    assert [type(task.error) for task in job.result().failed_tasks] == [TaskError]


def test_fail_fast_ends_a_job_that_would_go_on(client: Client, gate: str) -> None:
    """One task fails while another would wait for ever, before an ordered stage and before the sink."""
    job = client.map([[gate, 1], [gate, "raise"], [gate, 2]], pipeline="gate", fail_fast=True)
    with pytest.raises(JobFailed, match="ValueError: on purpose"):
        list(job)
    with pytest.raises(JobFailed, match=r"ValueError: \(3, 'is not wanted'\) .in stage picky"):
        client.submit(Task(10**9), pipeline="count", fail_fast=True).result(timeout=30)
    assert client.submit(Task(2), pipeline="add").result(timeout=20) == [3]


def test_fail_fast_after_the_retries(client: Client) -> None:
    job = client.submit(Task("raise"), pipeline="odd", fail_fast=True, max_retry=1)
    with pytest.raises(JobFailed, match="on purpose"):
        job.result(timeout=30)
    assert [text for text in job.status()["incidents"] if "retry" in text] == ["1 tasks failed: retry 1"]


# -- callbacks --------------------------------------------------------------------------------
def test_callbacks(client: Client, gate: str, caplog: pytest.LogCaptureFixture) -> None:
    job = client.submit(Task([gate, 1]), pipeline="gate")
    called: list[tuple[Any, Any, str]] = []
    done = threading.Event()

    def note(handle: Any) -> None:
        called.append((handle, handle.result(timeout=0), threading.current_thread().name))

    def bad(handle: object) -> None:
        raise RuntimeError("a bad callback")

    job.add_done_callback(note)
    job.add_done_callback(bad)
    job.add_done_callback(lambda handle: done.set())
    with caplog.at_level(logging.ERROR, "zturbo.client"):
        Path(gate).touch()
        assert done.wait(20)
    assert called == [(job, [1], "zturbo-callbacks")]
    assert "a bad callback" in caplog.text
    job.add_done_callback(note)
    assert called[1:] == [(job, [1], "MainThread")], "at once"
    assert len(called) == 2


def test_a_callback_for_a_cancelled_job_and_for_one_that_is_streamed(client: Client, gate: str) -> None:
    done: list[Any] = []
    cancelled = client.submit(Task([gate, 1]), pipeline="gate")
    cancelled.add_done_callback(done.append)
    client.attach(cancelled.id).cancel()  # by somebody else
    eventually(lambda: done == [cancelled])
    assert cancelled.cancelled()
    streamed = client.submit(Task(1000), pipeline="count")
    streamed.add_done_callback(done.append)
    stream = streamed.stream(timeout=30)
    first = next(stream)
    eventually(lambda: done == [cancelled, streamed])
    assert len([first, *stream]) + len(streamed.failed_tasks) == 1000, "nobody took its results away"
    assert len(streamed.result(timeout=30)) + len(streamed.failed_tasks) == 1000


def test_a_client_that_is_closed_ends_the_waiting(cluster: Cluster, gate: str) -> None:
    with cluster.client() as client:
        job = client.submit(Task([gate, 1]), pipeline="gate")
        done: list[Any] = []
        job.add_done_callback(done.append)
    assert done == [job]
    with pytest.raises(BrokerUnavailable, match="was closed"):
        job.result()
    with pytest.raises(BrokerUnavailable, match="was closed"):
        raise job.exception() or AssertionError
    with cluster.client() as client:
        assert client.attach(job.id).cancel(), "the job went on"


def test_wrap_future(client: Client, gate: str) -> None:
    async def main() -> None:
        ended = client.submit(Task(1), pipeline="add")
        eventually(ended.done)
        future = asyncio.wrap_future(ended)
        assert not future.done(), "its result is read by another thread"
        assert await asyncio.wait_for(future, 20) == [2]
        job = client.submit(Task([gate, 1]), pipeline="gate")
        future = asyncio.wrap_future(job)
        await asyncio.sleep(0)
        assert not future.done()
        Path(gate).touch()
        assert await asyncio.wait_for(future, 20) == [1]
        failing = client.submit(Task("raise"), pipeline="odd", fail_fast=True)
        with pytest.raises(JobFailed):
            await asyncio.wait_for(asyncio.wrap_future(failing), 20)
        Path(gate).unlink()
        job = client.submit(Task([gate, 1]), pipeline="gate")
        future = asyncio.wrap_future(job)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        await asyncio.sleep(0)  # its callbacks are called
        assert client.attach(job.id).cancelled()

    asyncio.run(main())


# -- many jobs --------------------------------------------------------------------------------
def test_as_completed_and_wait_jobs(client: Client, tmp_path: Path) -> None:
    gates = [str(tmp_path / str(i)) for i in range(3)]
    jobs = [client.submit(Task([gate, i]), pipeline="gate") for i, gate in enumerate(gates[:2])]
    ended = client.submit(Task(1), pipeline="add")
    assert ended.result(timeout=20) == [2]
    completed = client.as_completed([*jobs, ended, jobs[0]], timeout=30)
    assert next(completed) is ended
    waited = client.wait_jobs(jobs, timeout=0.05)
    assert waited.done == set() and waited.not_done == set(jobs)
    Path(gates[1]).touch()
    assert next(completed) is jobs[1]
    assert client.wait_jobs(jobs, 20, "FIRST_COMPLETED") == ({jobs[1]}, {jobs[0]})
    Path(gates[0]).touch()
    assert list(completed) == [jobs[0]]
    assert client.wait_jobs([*jobs, ended]).done == {*jobs, ended}
    assert [job.result() for job in jobs] == [[0], [1]]


def test_wait_jobs_until_one_fails(client: Client, gate: str) -> None:
    job = client.submit(Task([gate, 1]), pipeline="gate")
    fine = client.submit(Task(1), pipeline="add")
    bad = client.submit(Task("raise"), pipeline="odd", fail_fast=True)
    waited = client.wait_jobs([job, fine, bad], timeout=30, return_when="FIRST_EXCEPTION")
    assert bad in waited.done and job in waited.not_done
    with pytest.raises(ResultTimeout, match="not all jobs ended in time"):
        list(client.as_completed([job, bad], timeout=0.05))
    # the standard library's own functions know nothing of a broker, and yet they wait for it
    Path(gate).touch()
    assert concurrent.futures.wait([job, bad], timeout=20).not_done == set()
    late = client.submit(Task(5), pipeline="add")
    assert [future.result() for future in concurrent.futures.as_completed([late], timeout=20)] == [[6]]


def test_many_jobs_at_once(client: Client) -> None:
    jobs = [client.submit(Task(i), pipeline="add", durability="process") for i in range(200)]
    got = {job.id: job.result(timeout=20)[0] for job in client.as_completed(jobs, timeout=60)}
    assert [got[job.id] for job in jobs] == list(range(1, 201))


def test_the_end_is_told_by_the_next_broker_too(tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    with Cluster({"gate": [stage("gate", "GateEach")]}) as cluster, cluster.client() as client:
        job = client.submit(Task([gate, 1]), pipeline="gate")
        done = threading.Event()
        job.add_done_callback(lambda handle: done.set())
        eventually(job.running)
        cluster.kill("broker")
        Path(gate).touch()
        assert done.wait(30)
        assert job.result(timeout=0) == [1]


# -- attaching, leaving, status ---------------------------------------------------------------
def test_attach_at_the_cursor_or_from_the_start(client: Client) -> None:
    job = client.submit(Task(50), pipeline="add")
    assert job.result(timeout=20) == [51]
    job = client.submit(Task(200), pipeline="count")
    everything = list(job.stream(timeout=30))
    eventually(lambda: list(client.attach(job.id).stream(timeout=20)) == [], timeout=30)
    other = client.submit(Task(200), pipeline="count")
    stream = other.stream(timeout=20)
    began = [next(stream) for _ in range(11)]
    stream.close()  # type: ignore[attr-defined]
    rest = client.attach(other.id).stream(timeout=20)
    assert began[:10] + list(rest) == everything, "the eleventh was given, but no other was asked for"
    again = client.attach(job.id, from_start=True)
    assert list(again.stream(timeout=20)) == everything
    assert again.name == "job"
    tasks = list(client.attach(job.id, from_start=True).tasks(timeout=20))
    assert [task.content for task in tasks if task.success] == everything
    assert list(job.result(timeout=20)) == everything, "an older handle takes over again"


def test_with_statements(client: Client, gate: str) -> None:
    with client.submit(Task([gate, 1]), pipeline="gate") as job:
        eventually(job.running)
    with pytest.raises(UsageError, match="no such job"):
        client.attach(job.id)
    with contextlib.suppress(KeyError), client.submit(Task([gate, 1]), pipeline="gate") as job:
        raise KeyError
    with pytest.raises(UsageError, match="does not know job"):
        job.status()


def test_counts_per_stage(client: Client, gate: str) -> None:
    results = client.map([[gate, i] for i in range(20)], pipeline="gate")
    (job,) = [job for job in client.jobs() if job["name"] == "map" and job["state"] in LIVE]

    def counts() -> dict[str, Any]:
        (count,) = client.jobs(job["id"])[0]["counts"]
        return dict(count)

    expected = {"stage": "gate", "queued": 18, "running": 2, "done": 0, "failed": 0}
    eventually(lambda: counts() == expected)
    Path(gate).touch()
    assert sorted(results) == list(range(20))
    job = client.submit(Task(10), pipeline="count")
    result = job.result(timeout=20)
    assert len(result.failed_tasks) == 2
    done = [count["done"] for count in job.status()["counts"]]
    assert done == [10, 10, 8], "final at once; failures that pass an ordered stage by are not its own"
    assert [count["failed"] for count in job.status()["counts"]] == [0, 2, 0]
    assert [count["queued"] + count["running"] for count in job.status()["counts"]] == [0, 0, 0]
    assert job.status()["failed"] == 2


def test_closing_a_map_ends_its_job(client: Client, cluster: Cluster) -> None:
    def running() -> set[str]:
        return {job["id"] for job in client.jobs() if job["state"] in LIVE}

    before = running()
    results = client.map(range(7, 100), pipeline="hang")
    eventually(lambda: bool(cluster.child("hang.hang").running_note.read()))
    pid = cluster.child("hang.hang").pid
    results.close()
    assert running() == before
    eventually(lambda: cluster.child("hang.hang").pid != pid)  # what hung was ended
    eventually(lambda: not cluster.child("hang.hang").running_note.read())
    unread = client.map(range(7, 100), pipeline="hang")
    del unread  # nothing was read of it, and nobody has it any more
    assert running() == before
    assert list(client.map([1, 2], pipeline="hang")) == [1, 2]


# -- failed tasks -----------------------------------------------------------------------------
def test_a_failed_task_has_its_place_and_its_input(client: Client) -> None:
    job = client.submit(Task(10), pipeline="count")
    one, other = job.result(timeout=20).failed_tasks
    assert isinstance(one, FailedTask)
    assert (one.stage, one.content, one.index) == ("picky", 3, 1)
    assert other.content == 7
    assert isinstance(one.error, TaskError) and "raise ValueError(task.content" in one.error.traceback
    assert one.traceback == one.error.traceback
    assert one.host and one.host in str(one.error)
    assert one.meta["zturbo"]["stage"] == "picky" and "input" not in one.meta["zturbo"]


@pytest.mark.parametrize("cls", ["Spoil", "SpoilBatch", "SpoilOrdered"])
def test_the_input_is_what_the_stage_got(cls: str) -> None:
    """Whatever its code has done to it, for each kind of stage; retried, it gets it again."""
    contents: list[Any] = [{"n": i, "list": [i]} for i in range(20)]
    contents[5]["array"] = np.arange(40_000.0)
    with Cluster({"p": [stage("same", "Odd"), stage("spoil", cls)]}) as cluster, cluster.client() as client:
        got = list(client.map(contents, pipeline="p", on_error="return"))
        errors = [value for value in got if isinstance(value, TaskError)]
        assert len(errors) == 4
        assert [error.task.content["n"] for error in errors] == [i for i, e in enumerate(got) if e in errors]
        assert all(e.task.stage == "spoil" and e.task.host and e.task.traceback for e in errors)
        job = client.submit(Task(contents[5]), pipeline="p")
        (failed,) = job.result(timeout=20).failed_tasks
        assert failed.content["n"] == 5 and failed.content["list"] == [5]
        assert np.array_equal(failed.content["array"], np.arange(40_000.0))
        again = job.retry_failed(timeout=20)
        (failed,) = again.result(timeout=20).failed_tasks
        assert failed.content["list"] == [5]
        assert again.name == "job (retry)"


def test_retry_runs_just_what_failed_where_it_failed(tmp_path: Path) -> None:
    first, last = tmp_path / "first", tmp_path / "last"
    stages = [
        stage("first", "Log", 2, path=str(first)),
        stage("until", "Until", path=str(tmp_path / "mended")),
        stage("last", "LogMeta", path=str(last)),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        results = client.map(range(10), pipeline="p", on_error="skip", name="ten", priority=3)
        ids = {job["name"]: job["id"] for job in client.jobs()}
        job = client.attach(ids["ten"], from_start=True)
        assert job.result(timeout=30) == [0, 1, 2, 4, 5, 6, 8, 9]
        (tmp_path / "mended").touch()
        first.write_text("")
        again = job.retry_failed()
        assert again.result(timeout=20) == [3, 7]
        assert not again.result().failed_tasks
        assert first.read_text() == "", "no stage above saw them again"
        assert again.status()["name"] == "ten (retry)"
        assert again.status()["options"] == {"priority": 3}
        assert last.read_text().count("zturbo") == 0, "the mark goes no further than where it enters"
        with pytest.raises(UsageError, match=r"'ten \(retry\)' has no failed tasks"):
            again.retry_failed()
        results.close()


def test_retry_through_ordered_stages(tmp_path: Path) -> None:
    """Above the stage where tasks enter stand ordered stages, by path and by the user's ids."""
    stages = [
        stage("count", "Count"),
        stage("sum", "Ordered"),
        stage("ids", "ById"),
        stage("until", "Until", path=str(tmp_path / "mended")),
        stage("last", "Ordered"),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        job = client.submit(Task(12), pipeline="p")
        result = job.result(timeout=30)
        assert len(result) == 9 and len(result.failed_tasks) == 3
        assert [task.content for task in result.failed_tasks] == [[3, 3], [7, 7], [11, 11]]
        (tmp_path / "mended").touch()
        again = job.retry_failed(timeout=20)
        assert again.result(timeout=30) == [[[3, 3], 0], [[7, 7], 1], [[11, 11], 2]]


def test_retry_of_many(client: Client) -> None:
    results = client.map(range(3000), pipeline="bad", on_error="skip", name="many")
    (status,) = [job for job in client.jobs() if job["name"] == "many"]
    job = client.attach(status["id"])
    failed = job.result(timeout=60).failed_tasks
    assert [task.content for task in failed] == list(range(3000))
    again = job.retry_failed(durability="process")
    assert [task.content for task in again.result(timeout=60).failed_tasks] == list(range(3000))
    results.close()


def test_a_task_that_killed_its_worker_has_its_input_too() -> None:
    with Cluster({"p": [stage("deadly", "Deadly", how="exit", which=7)]}) as cluster:
        with cluster.client() as client:
            job = client.submit(Task(7), pipeline="p")
            (failed,) = job.result(timeout=60).failed_tasks
            assert isinstance(failed.error, WorkerLost) and failed.content == 7


def test_inputs_outlive_the_sink() -> None:
    stages = [stage("count", "Count"), stage("picky", "Picky"), stage("ordered", "Ordered")]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        job = client.submit(Task(10), pipeline="p")
        assert job.exception(timeout=20) is None
        cluster.kill("sink-0")
        assert [task.content for task in job.result(timeout=30).failed_tasks] == [3, 7]
        again = job.retry_failed()
        assert again.exception(timeout=20) is None
        cluster.kill("p.ordered")
        assert [task.content for task in again.result(timeout=30).failed_tasks] == [3, 7]


def test_large_inputs_are_not_kept(client: Client) -> None:
    job = client.submit(Task(["text", b"x" * 2_000_000]), pipeline="bad")
    (failed,) = job.result(timeout=20).failed_tasks
    assert failed.content is None
    assert "was not kept: it has 2,000,0" in failed.meta["zturbo"]["input"]
    with pytest.raises(UsageError, match=r"cannot be run again: its input was not kept: it has 2,000,0"):
        job.retry_failed()


def test_many_large_inputs_on_the_way(client: Client) -> None:
    contents = [[i, b"x" * 900_000] for i in range(60)]
    results = client.map(contents, pipeline="bad", on_error="skip", name="large")
    (status,) = [job for job in client.jobs() if job["name"] == "large"]
    tasks = client.attach(status["id"], from_start=True).tasks(timeout=60)
    assert [task.content for task in tasks] == contents
    results.close()


# -- wrong arguments --------------------------------------------------------------------------
@pytest.mark.parametrize(
    "call, said",
    [
        (lambda c, j: c.submit(5, pipeline="add"), "submit: job is to be a Job, or a Task"),
        (lambda c, j: c.submit(Task(1), pipeline=5), "submit: pipeline is to be the name of one"),
        (lambda c, j: c.submit(Task(1), pipeline="add", fail_fast=1), "'fail_fast' is to be of type bool"),
        (lambda c, j: c.submit(Task(1), pipeline="add", failfast=True), "unknown job option 'failfast'"),
        (lambda c, j: c.map(5, pipeline="add"), "map: contents is to be an iterable"),
        (lambda c, j: c.map([], pipeline=None), "map: pipeline is to be the name of one"),
        (lambda c, j: c.map([], pipeline="add", ordered=None), "map: ordered is to be True or False"),
        (lambda c, j: c.map([], pipeline="add", on_error="no"), "map: on_error is to be 'raise', 'skip' or"),
        (lambda c, j: c.map([], pipeline="add", name=5), "map: name is to be a str"),
        (lambda c, j: c.attach("xyz"), "there is no job 'xyz'"),
        (lambda c, j: c.attach(b"short"), "attach: job_id is to be a job's id: 32 hexadecimal digits, or"),
        (lambda c, j: c.attach(5), "attach: job_id is to be a job's id"),
        (lambda c, j: c.attach(b"0" * 16), "no such job"),
        (lambda c, j: c.attach(j.id, from_start=1), "attach: from_start is to be True or False"),
        (lambda c, j: c.jobs("xyz"), "there is no job 'xyz'"),
        (lambda c, j: c.as_completed(j), "as_completed: handles is to be an iterable of handles"),
        (lambda c, j: c.as_completed([j, 5]), r"as_completed: handles\[1\] is to be a handle"),
        (lambda c, j: c.as_completed([j], timeout="1"), "as_completed: timeout is to be seconds"),
        (lambda c, j: c.wait_jobs([5]), r"wait_jobs: handles\[0\] is to be a handle"),
        (lambda c, j: c.wait_jobs([j], timeout=-1), "wait_jobs: timeout is to be seconds, 0 or more"),
        (lambda c, j: c.wait_jobs([j], return_when="ALL"), "wait_jobs: return_when is to be 'ALL_COMPLETED'"),
        (lambda c, j: j.result(timeout="1"), "result: timeout is to be seconds"),
        (lambda c, j: j.exception(timeout=True), "exception: timeout is to be seconds"),
        (lambda c, j: j.stream(timeout=-1), "stream: timeout is to be seconds"),
        (lambda c, j: j.tasks(timeout=[]), "tasks: timeout is to be seconds"),
        (lambda c, j: j.retry_failed(timeout="1"), "retry_failed: timeout is to be seconds"),
        (lambda c, j: j.add_done_callback(5), "add_done_callback: fn is to be a function"),
        (lambda c, j: c.logs(source=5), "logs: source is to be a str"),
        (lambda c, j: c.logs(source="\udcff"), "logs: source: .* has characters that UTF-8 cannot carry"),
        (lambda c, j: c.trace(last=None), "trace: last is to be seconds"),
        (lambda c, j: c.stacks(0), "what is to be the name of a stage or a process"),
        (lambda c, j: c.profile(b"add"), "what is to be the name of a stage or a process"),
        (lambda c, j: c.report(None), "report: path is to be a path"),
        (lambda c, j: Client(c.broker, keys=1.5), "Client: keys is to be a file, a folder or None"),
    ],
)
def test_wrong_arguments(client: Client, call: Any, said: str) -> None:
    job = client.submit(Task(1), pipeline="add")
    with pytest.raises(UsageError, match=said):
        call(client, job)
    assert job.result(timeout=20) == [2]


@pytest.mark.parametrize("seconds", [1e12, 1e300, 10**30])
def test_a_time_out_may_be_longer_than_a_thread_can_wait(
    client: Client, cluster: Cluster, gate: str, seconds: float
) -> None:
    job = client.submit(Task([gate, 5]), pipeline="gate")
    calls: list[Any] = [job.accepted, job.result, job.exception, client.flush]
    calls += [lambda timeout: list(client.as_completed([job], timeout=timeout))]
    calls += [lambda timeout: client.wait_jobs([job], timeout=timeout)]

    async def wait() -> Any:
        async with AsyncClient(cluster.address) as other:
            handle = await other.attach(job.id)
            return await handle.exception(seconds)

    with concurrent.futures.ThreadPoolExecutor(len(calls) + 1) as pool:
        waits = [pool.submit(call, timeout=seconds) for call in calls] + [pool.submit(asyncio.run, wait())]
        eventually(job.running)
        Path(gate).touch()
        done = [one.result(timeout=60) for one in waits]
    assert done[1] == [5] and done[2] is done[-1] is None


def test_a_retry_with_wrong_options_leaves_no_job(client: Client) -> None:
    job = client.submit(Task("raise"), pipeline="odd")
    job.result(timeout=20)
    before = len(client.jobs())
    with pytest.raises(UsageError, match="unknown job option 'prio'"):
        job.retry_failed(prio=1)
    assert len(client.jobs()) == before


def test_a_retry_of_a_job_without_a_result(client: Client, gate: str) -> None:
    job = client.submit(Task([gate, 1]), pipeline="gate")
    with pytest.raises(ResultTimeout):
        job.retry_failed(timeout=0.05)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.retry_failed(timeout=20)


# -- times of tasks -----------------------------------------------------------------------------------
def test_each_task_has_its_time_at_each_stage_if_the_job_asks_for_that(client: Client) -> None:
    options = {"pipeline": "count", "logs": True}
    good, bad = 4, 5
    tasks = [*client.submit(Task(good), **options).tasks(30), *client.submit(Task(bad), **options).tasks(30)]
    failed = [task for task in tasks if not task.success]
    assert failed and len(tasks) == good + bad
    for task in tasks:
        stages = [entry.stage for entry in task.logs]
        assert stages == (["count", "picky", "sum"] if task.success else ["count", "picky"]), task
        assert all(entry.duration >= 0 and entry.end_time >= entry.start_time > 0 for entry in task.logs)
    assert all(entry.success for task in tasks for entry in task.logs[:-1])
    assert not any(task.logs[-1].success for task in failed)


def test_a_job_that_does_not_ask_for_times_says_how_to_get_them(client: Client) -> None:
    handle = client.submit(Task(5), pipeline="count")
    for task in [*handle.tasks(30), *handle.failed]:
        assert task.logs == [] and "submit it with logs=True" in repr(task.logs)


def test_tasks_read_by_a_coroutine_have_their_times_too(cluster: Cluster) -> None:
    async def read(**options: bool) -> list[list[str]]:
        async with AsyncClient(cluster.address) as client:
            job = await client.submit(Task(3), "count", **options)
            return [[entry.stage for entry in task.logs] async for task in job.tasks(30)]

    assert asyncio.run(read(logs=True)) == [["count", "picky", "sum"]] * 3
    assert asyncio.run(read()) == [[]] * 3
