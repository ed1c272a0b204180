"""Nothing waits for ever without a word: odd ends of iterables, forks, clients closed or dropped."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually, stage
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


def use(client: Client) -> str:
    """What a process says that has got its parent's client."""
    try:
        client.submit(Task(1), pipeline="add").result(timeout=20)
    except UsageError as error:
        return str(error)
    return "it went"


@pytest.mark.usefixtures("forks")
def test_a_client_in_a_forked_worker_of_the_users_own_says_so(cluster: Cluster) -> None:
    fork = multiprocessing.get_context("fork")
    with connect(cluster) as client:
        answers = fork.SimpleQueue()
        process = fork.Process(target=lambda: answers.put(use(client)))
        process.start()
        assert "Make a new client" in answers.get()
        process.join(60)
        assert process.exitcode == 0, "it ends, whatever its copy of the client is"
        ask = partial(use, client)
        globals()["use_it"] = lambda _: ask()
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork) as pool:
            assert "Make a new client" in pool.submit(_use_it).result(60)
        assert client.submit(Task(1), pipeline="add").result(timeout=20) == [2]


def _use_it() -> str:
    return str(globals()["use_it"](None))


EXIT = """
import sys
from zturbo import Client, Task
client = Client(sys.argv[1], timeout=20)
job = client.submit(Task(1), pipeline="add")
job.add_done_callback(lambda handle: None)
results = client.map([1, 2, 3], pipeline="add")
print(next(results), job.result(timeout=20))
"""


def test_a_program_that_ends_without_closing_its_client_says_nothing(cluster: Cluster) -> None:
    command = [sys.executable, "-X", "dev", "-c", EXIT, cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 [2]\n", "")


FEW = """
import resource, sys
from zturbo import Client, Task
from zturbo.errors import StartError
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
first = Client(sys.argv[1], timeout=20)
assert first.submit(Task(1), pipeline="add").result(timeout=20) == [2]
clients = []
try:
    while len(clients) < 300:
        clients.append(Client(sys.argv[1], timeout=20))
except StartError as error:
    print(error)
try:
    print(clients[0].submit(Task(1), pipeline="add").result(timeout=20))
except StartError as error:
    print(error)
print(first.submit(Task(1), pipeline="add").result(timeout=20))
clients.clear()
while True:
    try:
        print(Client(sys.argv[1], timeout=20).submit(Task(2), pipeline="add").result(timeout=20))
        break
    except StartError:
        pass
"""


def test_descriptors_that_run_out_are_told(cluster: Cluster) -> None:
    """libzmq would abort the process; so it is asked for nothing that it cannot have."""
    command = [sys.executable, "-c", FEW, cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    *told, good, again = done.stdout.splitlines()
    assert done.returncode == 0 and (good, again) == ("[2]", "[3]"), done
    assert len(told) == 2 and all("no descriptors left" in line and "ulimit -n" in line for line in told)


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
    with connect(cluster) as other:  # its node is in this process, and opens more for each child that starts
        eventually(lambda: all(all(pipeline["workers"]) for pipeline in other.pipelines()))
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


@pytest.mark.parametrize("own", [True, False], ids=["its own client's thread", "another client's thread"])
def test_an_iterator_that_the_collector_finds_holds_up_no_client(cluster: Cluster, own: bool) -> None:
    """The collector runs in any thread. In one that takes the broker's answers, none can be waited for."""
    collected, read_on = threading.Event(), threading.Event()

    def never() -> Iterator[int]:
        read_on.wait()
        yield 1

    with Client(cluster.address, timeout=600) as client, connect(cluster) as other:
        name = f"never of {own}"
        ring: list[Any] = [client.map(never(), pipeline="add", name=name)]
        ring.append(ring)
        iterator = weakref.ref(ring[0])
        del ring
        last = iterator()
        assert last is not None, "the collector has not found it yet"
        gone = threading.Event()
        weakref.finalize(last, gone.set)
        del last

        def collect(now: float) -> None:
            gc.collect()
            collected.set()

        (client if own else other).connection.io.post(collect)
        assert collected.wait(60) and gone.is_set()
        eventually(
            lambda: not any(job["state"] == "running" and job["name"] == name for job in client.jobs())
        )
        read_on.set()


def test_a_client_is_closed_by_its_own_callback(cluster: Cluster) -> None:
    client = connect(cluster)
    closed = threading.Event()

    def close(handle: Any) -> None:
        client.close()
        closed.set()

    client.submit(Task(1), pipeline="add").add_done_callback(close)
    assert closed.wait(20)
