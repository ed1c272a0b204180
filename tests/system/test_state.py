"""A job's state is its own: trackers made in ``init()`` and in ``reset()``, ordered, sticky and plain."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from threading import Event
from typing import Any

import pytest

from tests.stages.stateful import (
    Exclusive,
    InInit,
    InReset,
    OrderedInInit,
    OrderedInReset,
    Shared,
    Spread,
    StickyBatch,
    StickyInInit,
    StickyInReset,
    Through,
)
from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, Resources, Stage, System, Task
from zturbo.errors import UsageError
from zturbo.system.debug import run_debug

JOBS, TASKS = 8, 12
KINDS = ["StickyInInit", "StickyInReset", "OrderedInInit", "OrderedInReset", "Shared"]
"""Kinds of stage of which one worker sees all of a job."""


def table(cls: str, workers: int) -> dict[str, Any]:
    return stage("state", f"tests.stages.stateful:{cls}", workers)


Start = Callable[[str], tuple[Cluster, Client]]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """A cluster that has this pipeline, and a client of it."""
    through = "tests.stages.stateful:Through"
    groups: list[dict[str, list[dict[str, Any]]]] = [
        {kind: [table(kind, 2)] for kind in ("StickyInReset", "OrderedInReset", "Shared")},
        {kind: [table(kind, 2)] for kind in ("OrderedInInit", "InInit", "InReset")},
        {"StickyInInit": [stage("to", through, 2), table("StickyInInit", 2), stage("on", through)]},
        {"Exclusive": [table("Exclusive", 2)], "batch": [table("StickyBatch", 1)]},
    ]
    running: dict[int, tuple[Cluster, Client]] = {}
    with ExitStack() as stack:

        def of(pipeline: str) -> tuple[Cluster, Client]:
            number = next(i for i, group in enumerate(groups) if pipeline in group)
            if number not in running:
                cluster = stack.enter_context(Cluster(groups[number]))
                client = stack.enter_context(cluster.client())
                started = {name: group for name, group in groups[number].items() if name != "batch"}
                want = sum(stage["workers"] for stages in started.values() for stage in stages)
                eventually(lambda: sum(n for p in client.pipelines() for n in p["workers"]) == want)
                running[number] = cluster, client
            return running[number]

        yield of


class Turns:
    """Jobs that are all under way at once: each is fed its next task when all have given their last."""

    def __init__(self, client: Client, pipeline: str, jobs: int = JOBS, tasks: int = TASKS) -> None:
        self.rounds = [Event() for _ in range(tasks)]
        self.jobs = [client.map(self._tasks(job), pipeline=pipeline) for job in range(jobs)]

    def _tasks(self, job: int) -> Iterator[list[int]]:
        for place, begun in enumerate(self.rounds):
            begun.wait()
            yield [job, place]

    def round(self, place: int) -> list[Any]:
        """What each job gives next."""
        self.rounds[place].set()
        return [next(job) for job in self.jobs]

    def close(self) -> None:
        for begun in self.rounds:
            begun.set()
        with ExitStack() as stack:
            for job in self.jobs:
                stack.callback(job.close)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_eight_jobs_at_once_see_nothing_of_each_other(start: Start, kind: str) -> None:
    with closing(Turns(start(kind)[1], kind)) as turns:
        rounds = [turns.round(place) for place in range(TASKS)]
        assert [list(job) for job in turns.jobs] == [[]] * JOBS
    workers = [pid for *_, pid, _ in rounds[0]]
    assert len(set(workers)) == 2, "jobs are shared out"
    made = 4 if kind.endswith("InInit") else 1
    for place, results in enumerate(rounds):
        for job, result in enumerate(results):
            assert result[:5] == [job, place, [job], place + 1, workers[job]]
            assert result[5] <= made, "more instances than slots"


@pytest.mark.parametrize("kind", ["InInit", "InReset"])
def test_each_worker_of_a_plain_stage_has_a_jobs_state_to_itself(start: Start, kind: str) -> None:
    with closing(Turns(start(kind)[1], kind)) as turns:
        rounds = [turns.round(place) for place in range(TASKS)]
    counts: dict[tuple[int, int], int] = {}
    for place, results in enumerate(rounds):
        for job, (*head, seen, count, pid, _) in enumerate(results):
            counts[job, pid] = counts.get((job, pid), 0) + 1
            assert head == [job, place] and seen == [job] and count == counts[job, pid]


def test_a_sticky_worker_dies_and_its_jobs_begin_with_fresh_state(start: Start) -> None:
    client = start("StickyInInit")[1]
    with closing(Turns(client, "StickyInInit", 4)) as turns:
        rounds = [turns.round(place) for place in range(TASKS // 2)]
        killed = rounds[0][0][4]
        os.kill(killed, signal.SIGKILL)
        rounds += [turns.round(place) for place in range(TASKS // 2, TASKS)]
        assert [list(job) for job in turns.jobs] == [[]] * 4
    for place, results in enumerate(rounds):
        for job, result in enumerate(results):
            assert result[:4] == [job, place, [job], place + 1]
    assert killed not in [result[4] for result in rounds[-1]]


def test_a_job_waits_for_a_slot_and_says_so(start: Start) -> None:
    client = start("Exclusive")[1]
    with closing(Turns(client, "Exclusive", 2)) as turns:
        first = turns.round(0)
        assert first[0][4] != first[1][4]
        late = [client.submit(Job(f"late-{n}", Task([10 + n, 0])), pipeline="Exclusive") for n in range(3)]

        def waits() -> list[str | None]:
            return [job["waiting"] for job in client.jobs() if job["name"].startswith("late-")]

        slot = "a free slot at stage Exclusive.state: all of its workers have a job"
        eventually(lambda: waits()[:1] == [slot])
        states = {job["state"] for job in client.jobs() if job["name"].startswith("late-")}
        assert states == {"waiting"}
        rest = [turns.round(place) for place in range(1, TASKS)]
        assert [result[3] for result in rest[-1]] == [TASKS, TASKS]
        assert [list(job) for job in turns.jobs] == [[]] * 2
        for n, handle in enumerate(late):
            (result,) = handle.result(timeout=30)
            assert result[:4] == [10 + n, 0, [10 + n], 1]
            assert result[5] == 1, "its one slot's instance is free with its job's last task"


def test_a_batch_stage_cannot_be_sticky(start: Start) -> None:
    cluster = start("batch")[0]

    def told() -> list[str]:
        return [text for kind, name, text in cluster.events if kind == "failed" and name == "batch.state"]

    eventually(lambda: bool(told()))
    assert "StickyBatch is a BatchStage and sticky = True" in told()[0]
    with pytest.raises(UsageError, match=r"make it a Stage with process\(task\)"):
        run_debug([StickyBatch], Task([0, 0]))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("sticky", "yes", "True or False"), ("interleave", 1, "True or False"), ("job_slots", 0, "an int of 1")],
)
def test_what_they_cannot_be(name: str, value: Any, expected: str) -> None:
    wrong = type("Wrong", (InInit,), {name: value})
    with pytest.raises(UsageError, match=f"Wrong.{name} is to be {expected}"):
        run_debug([wrong], Task([0, 0]))


class Sticky(System):
    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Spread(resources), StickyInInit(), OrderedInReset(), Exclusive()]


@pytest.mark.parametrize("debug", [True, False])
def test_sticky_in_a_system(debug: bool) -> None:
    with Sticky(debug=debug) as system:
        system.add_jobs(Job(str(n), Task([n, 50])) for n in range(JOBS))
        done = {job.name: job.results for job in system.wait_jobs(JOBS, job_timeout=60)}
    for n in range(JOBS):
        assert [content[:4] for content in done[str(n)]] == [[n, k, [n], k + 1] for k in range(50)]


@pytest.mark.parametrize("cls", [InInit, InReset, OrderedInInit, StickyInInit, StickyInReset, Shared])
def test_in_debug_mode(cls: type[Stage]) -> None:
    results = [run_debug([Spread, cls, Through], Task([n, 5])) for n in range(3)]
    for n, result in enumerate(results):
        assert [content[:4] for content in result] == [[n, k, [n], k + 1] for k in range(5)]
