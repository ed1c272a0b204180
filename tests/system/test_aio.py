"""The asyncio client, on real processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, stage
from zturbo import AsyncClient, Task
from zturbo.errors import (
    BrokerUnavailable,
    JobCancelled,
    JobFailed,
    ResultTimeout,
    TaskError,
    UnknownPipeline,
    UsageError,
)
from zturbo.jobstates import LIVE


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pipelines = {
        "add": [stage("add", "Add", 2)],
        "odd": [stage("odd", "Odd")],
        "gate": [stage("gate", "GateEach", 2)],
        "count": [stage("count", "Count"), stage("picky", "Picky")],
    }
    with Cluster(pipelines) as cluster:
        yield cluster


def client(cluster: Cluster) -> AsyncClient:
    return AsyncClient(cluster.address, timeout=20)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 120))


async def eventually(condition: Any) -> None:
    while not await condition():
        await asyncio.sleep(0.02)


def test_a_job(cluster: Cluster) -> None:
    async def main() -> None:
        async with client(cluster) as c:
            job = await c.submit(Task(20), pipeline="count")
            got = [content async for content in job.stream(timeout=30)]
            assert got == [i for i in range(20) if i not in (3, 7)]
            assert [task.content for task in job.failed_tasks] == [3, 7]
            result = await job
            assert result == got and result is await job.result()
            assert [task.content for task in result.failed_tasks] == [3, 7]
            assert await job.done() and not await job.running() and not await job.cancelled()
            assert await job.exception(timeout=20) is None
            assert not await job.cancel()
            tasks = [task async for task in (await c.attach(job.id, from_start=True)).tasks()]
            assert [task.success for task in tasks] == [i not in (3, 7) for i in range(20)]
            assert (await job.status())["counts"][1]["stage"] == "picky"
            assert [status["id"] for status in await c.jobs(job)] == [job.id]
            again = await job.retry_failed(timeout=20)
            assert [task.content for task in (await again).failed_tasks] == [3, 7]
            assert {described["name"] for described in await c.pipelines()} >= {"add", "odd"}

    run(main())


def test_the_loop_goes_on_while_a_job_is_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    async def main() -> None:
        async with client(cluster) as c:
            job = await c.submit(Task([gate, 1]), pipeline="gate")
            with pytest.raises(ResultTimeout):
                await job.result(timeout=0.05)
            with pytest.raises(ResultTimeout):
                await job.exception(timeout=0.05)
            with pytest.raises(ResultTimeout):
                [content async for content in job.stream(timeout=0.05)]
            waiting = asyncio.ensure_future(job.result())
            other = await c.submit(Task(1), pipeline="add")
            assert await other == [2]
            assert not waiting.done()
            Path(gate).touch()
            assert await waiting == [1]

    run(main())


def test_jobs_that_end_otherwise(cluster: Cluster, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    async def main() -> None:
        async with client(cluster) as c:
            job = await c.submit(Task([gate, 1]), pipeline="gate")
            waiting = asyncio.ensure_future(job.result())
            await eventually(job.running)
            assert await job.cancel() and await job.cancelled()
            with pytest.raises(JobCancelled):
                await waiting
            with pytest.raises(JobCancelled):
                await job.exception()
            failing = await c.submit(Task("raise"), pipeline="odd", fail_fast=True)
            assert isinstance(await failing.exception(timeout=20), JobFailed)
            with pytest.raises(JobFailed, match="on purpose"):
                await failing
            async with await c.submit(Task([gate, 1]), pipeline="gate") as left:
                await eventually(left.running)
            with pytest.raises(UsageError, match="no such job"):
                await c.attach(left.id)

    run(main())


def test_map(cluster: Cluster) -> None:
    async def numbers() -> AsyncIterator[int]:
        for i in range(500):
            if i % 100 == 0:
                await asyncio.sleep(0)
            yield i

    async def main() -> None:
        async with client(cluster) as c:
            got = [content async for content in c.map(range(5000), pipeline="add")]
            assert got == list(range(1, 5001))
            assert [content async for content in c.map(numbers(), pipeline="add")] == list(range(1, 501))
            got = [content async for content in c.map(["raise", 1], pipeline="odd", on_error="return")]
            assert isinstance(got[0], TaskError) and got[1:] == [1]
            assert [content async for content in c.map(["raise", 1], "odd", on_error="skip")] == [1]
            with pytest.raises(TaskError, match="on purpose"):
                [content async for content in c.map(["raise", 1], pipeline="odd")]
            unordered = [content async for content in c.map(range(500), "add", ordered=False)]
            assert sorted(unordered) == list(range(1, 501))

    run(main())


async def maps(c: AsyncClient) -> list[dict[str, Any]]:
    """The maps that go on."""
    return [job for job in await c.jobs() if job["name"] == "map" and job["state"] in LIVE]


def test_a_source_that_raises(cluster: Cluster) -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise RuntimeError("the source is broken")

    async def main() -> None:
        async with client(cluster) as c:
            with pytest.raises(RuntimeError, match="the source is broken"):
                [content async for content in c.map(broken(), pipeline="add")]
            assert await maps(c) == []

    run(main())


def test_leaving_a_map_ends_its_job(cluster: Cluster) -> None:
    async def main() -> None:
        async with client(cluster) as c:
            async with contextlib.aclosing(c.map(itertools.count(), pipeline="add")) as results:
                async for content in results:
                    if content == 100:
                        assert len(await maps(c)) == 1
                        break
            assert await maps(c) == []

            async def never() -> AsyncIterator[int]:
                yield 1
                await asyncio.Event().wait()

            async def consume() -> None:
                async for _ in c.map(never(), pipeline="add"):
                    pass

            consuming = asyncio.ensure_future(consume())

            async def fed() -> bool:
                return any(job["results"] for job in await maps(c))

            await eventually(fed)
            consuming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await consuming

            async def gone() -> bool:
                return not await maps(c)

            await eventually(gone)

    run(main())


def test_many_jobs(cluster: Cluster, tmp_path: Path) -> None:
    gates = [str(tmp_path / str(i)) for i in range(3)]

    async def main() -> None:
        async with client(cluster) as c:
            jobs = [await c.submit(Task(i), pipeline="add") for i in range(50)]
            assert await asyncio.gather(*jobs) == [[i + 1] for i in range(50)]
            jobs = [await c.submit(Task([gate, i]), pipeline="gate") for i, gate in enumerate(gates[:2])]
            completed = c.as_completed(jobs, timeout=60)
            Path(gates[1]).touch()
            assert await anext(completed) is jobs[1]
            done, left = await c.wait_jobs(jobs, return_when="FIRST_COMPLETED")
            assert done == {jobs[1]} and left == {jobs[0]}
            assert await c.wait_jobs(jobs, timeout=0.05) == ({jobs[1]}, {jobs[0]})
            with pytest.raises(ResultTimeout, match="1 of 2 had not"):
                [job async for job in c.as_completed(jobs, timeout=0.05)]
            failing = await c.submit(Task("raise"), pipeline="odd", fail_fast=True)
            done, _ = await c.wait_jobs([*jobs, failing], return_when="FIRST_EXCEPTION")
            assert failing in done and jobs[0] not in done
            Path(gates[0]).touch()
            assert [job async for job in completed] == [jobs[0]]
            assert (await c.wait_jobs([*jobs, failing], timeout=20))[1] == set()

    run(main())


def test_wrong_arguments(cluster: Cluster) -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="use it in an async with statement"):
            await AsyncClient(cluster.address).submit(Task(1), pipeline="add")
        with pytest.raises(UsageError, match="is not an address"):
            async with AsyncClient("nowhere"):
                pass
        with pytest.raises(BrokerUnavailable):
            async with AsyncClient("ipc:///tmp/nobody", timeout=0.2):
                pass
        async with client(cluster) as c:
            wrong: Any = c
            with pytest.raises(UsageError, match="submit: job is to be a Job"):
                await wrong.submit(5, pipeline="add")
            with pytest.raises(UnknownPipeline, match="no pipeline 'none' here"):
                await c.submit(Task(1), pipeline="none")
            with pytest.raises(UsageError, match="map: contents is to be an iterable"):
                wrong.map(5, pipeline="add")
            with pytest.raises(UsageError, match="there is no job 'xyz'"):
                await c.attach("xyz")
            with pytest.raises(UsageError, match="no such job"):
                await c.attach(bytes(16))
            with pytest.raises(UsageError, match="attach: from_start is to be True or False"):
                await wrong.attach(bytes(16), from_start=1)
            job = await c.submit(Task(1), pipeline="add")
            with pytest.raises(UsageError, match="result: timeout is to be seconds"):
                await job.result(timeout=-1)
            with pytest.raises(UsageError, match=r"wait_jobs: jobs\[0\] is to be a job"):
                await wrong.wait_jobs([5])
            with pytest.raises(UsageError, match="wait_jobs: return_when is to be"):
                await wrong.wait_jobs([job], return_when="ALL")
            with pytest.raises(UsageError, match="as_completed: jobs is to be an iterable"):
                wrong.as_completed(5)

    run(main())
