"""Nothing waits for ever without a word: odd ends of iterables, forks, clients closed or dropped."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cluster import Cluster, eventually, stage
from zturbo import AsyncClient, Client, Job, Stage, System, Task
from zturbo.errors import BrokerUnavailable, UsageError


class Own(BaseException):
    """No Exception, as a panic of an extension is."""


ENDS = [
    SystemExit("no such file"),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    Own("panic"),
    OSError("disk"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster({"add": [stage("add", "Add")], "gate": [stage("gate", "GateEach")]}) as cluster:
        yield cluster


def connect(cluster: Cluster) -> Client:
    return Client(cluster.address, timeout=20)


def rows(end: BaseException) -> Iterator[int]:
    yield 1
    raise end


# -- iterables --------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_map_ends_as_its_iterable_does(cluster: Cluster, end: BaseException) -> None:
    with connect(cluster) as client, pytest.raises(type(end)) as caught:
        list(client.map(rows(end), pipeline="add"))
    assert caught.value is end


@pytest.mark.parametrize("end", ENDS, ids=repr)
@pytest.mark.parametrize("plain", [True, False])
def test_an_async_map_ends_as_its_iterable_does(cluster: Cluster, end: BaseException, plain: bool) -> None:
    async def rows_later() -> AsyncIterator[int]:
        for row in rows(end):
            yield row

    async def main() -> BaseException | None:
        async with AsyncClient(cluster.address, timeout=20) as client:
            try:
                async for _ in client.map(rows(end) if plain else rows_later(), pipeline="add"):
                    pass
            except BaseException as error:
                return error
        return None

    assert asyncio.run(main()) is end


# -- forks: of a process with threads, which newer Pythons warn of --------------------------------
@pytest.fixture
def forks() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def in_fork(call: Callable[[], object]) -> int:
    """Run it in a forked child; returns the child's exit code, 99 if it had to be killed."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            threading.Timer(30, os._exit, (99,)).start()
            call()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.usefixtures("forks")
def test_a_client_used_after_a_fork_says_so(cluster: Cluster, tmp_path: Path) -> None:
    with connect(cluster) as client:
        running = client.submit(Task([str(tmp_path / "gate"), 1]), pipeline="gate")
        running.add_done_callback(lambda handle: None)
        mapped = client.map([1, 2], pipeline="add")
        calls: list[Callable[[], Any]] = [
            lambda: client.submit(Task(1), pipeline="add"),
            lambda: client.map([1], pipeline="add"),
            lambda: next(mapped),
            client.jobs,
            lambda: client.attach(running.id),
            lambda: list(client.as_completed([running], timeout=1)),
            lambda: client.wait_jobs([running], timeout=1),
            lambda: running.result(timeout=1),
            lambda: next(running.stream(timeout=1)),
            lambda: next(running.tasks()),
            running.exception,
            running.status,
            running.done,
            running.cancel,
            running.release,
            running.retry_failed,
            lambda: running.add_done_callback(print),
        ]

        def child() -> None:
            for call in calls:
                with pytest.raises(
                    UsageError, match=f"was made in process {os.getppid()}.*Make a new client"
                ):
                    call()
            mapped.close()
            client.close()
            with connect(cluster) as mine:
                assert mine.submit(Task(1), pipeline="add").result(timeout=20)

        assert in_fork(child) == 0
        (tmp_path / "gate").touch()
        assert running.result(timeout=20) == [1]
        assert len(list(mapped)) == 2, "the child has not ended its parent's job"


class Same(Stage):
    def process(self, task: Task) -> Task:
        return task


class Plain(System):
    show_progress = False

    def get_stages(self, resources: Any) -> list[Stage]:
        return [Same()]


@pytest.mark.usefixtures("forks")
def test_a_system_used_after_a_fork_says_so_and_is_not_ended_there() -> None:
    with Plain() as system:

        def child() -> None:
            for call in (lambda: system.add_job(Job("a", Task(1))), lambda: system.wait_job(job_timeout=1)):
                with pytest.raises(UsageError, match="Make another System"):
                    call()
            system.terminate()

        assert in_fork(child) == 0
        system.add_job(Job("b", Task(2)))
        assert system.wait_job(job_timeout=30).results == [2]


# -- closed and dropped -----------------------------------------------------------------------
def test_handles_of_a_closed_client_say_so(cluster: Cluster, tmp_path: Path) -> None:
    client = connect(cluster)
    job = client.submit(Task([str(tmp_path / "gate"), 1]), pipeline="gate")
    blocked = threading.Event()

    def never() -> Iterator[int]:
        blocked.wait(60)
        yield 1

    mapped = client.map(never(), pipeline="add")
    client.close()
    client.close()
    calls: list[Callable[[], Any]] = [
        lambda: next(mapped),
        job.result,
        lambda: next(job.stream()),
        job.status,
        lambda: client.submit(Task(1), pipeline="add"),
    ]
    for call in calls:
        with pytest.raises(BrokerUnavailable, match="the client was closed"):
            call()
    assert type(job.exception()) is BrokerUnavailable
    blocked.set()
    (tmp_path / "gate").touch()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_dropped_client_keeps_nothing(cluster: Cluster) -> None:
    gc.collect()
    before = descriptors(), threading.active_count()
    for _ in range(3):
        client = connect(cluster)
        called = threading.Event()
        job = client.submit(Task(1), pipeline="add")
        job.add_done_callback(lambda handle, called=called: called.set())  # type: ignore[misc]
        assert called.wait(20) and job.result(timeout=20)
        assert list(client.map([1], pipeline="add"))
        del client, job
    gc.collect()
    eventually(lambda: (descriptors(), threading.active_count()) <= before)


def test_a_client_is_closed_by_its_own_callback(cluster: Cluster) -> None:
    client = connect(cluster)
    closed = threading.Event()

    def close(handle: Any) -> None:
        client.close()
        closed.set()

    client.submit(Task(1), pipeline="add").add_done_callback(close)
    assert closed.wait(20)
