"""Loads for the chaos run: each submits work, reads the results, and says whether they are right."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.stages.basic import sums
from tests.support.cluster import stage
from zturbo import Client, Task
from zturbo.errors import TaskError

__all__ = ["ASIDE", "LOADS", "Load", "pipelines"]


ASIDE = 10**9
"""Contents from here on are not of the loads, but of other jobs."""


def pipelines(folder: Path, **trouble: Any) -> dict[str, list[dict[str, Any]]]:
    """The pipelines that the loads use.

    Args:
        folder: where their stages note what they run.
        trouble: arguments of the stage that other jobs ask for trouble.
    """
    add = "tests.stages.trouble:Trouble"

    def log(name: str, workers: int, seconds: float = 0.0) -> dict[str, Any]:
        return stage("work", "Log", workers, path=str(folder / name), seconds=seconds)

    return {
        "tiny": [stage("add", add, 2, **trouble), log("tiny", 2), stage("sum", "Sum", 2)],
        "wide": [stage("count", "Count", 1), stage("add", "Add", 2), stage("sum", "Sum", 1)],
        "big": [stage("first", "Array", 2), stage("second", "Array", 1)],
        "slow": [log("slow", 3, 0.03), stage("add", add, 1, **trouble)],
        "wild": [stage("wild", "Wild", 2), stage("pass", "Slow", 1, seconds=0.0005)],
        "batch": [
            stage("batch", "Batches", 2),
            stage("sum", "SumOfBatches", 2),
            stage("again", "Batches", 2),
        ],
        "function": [stage("halves", "halves", 2, into=3), stage("even", "even", 2), stage("sum", "Sum")],
        "async": [
            stage("streams", "tests.stages.coroutines:Streams", 2),
            stage("first", "tests.stages.coroutines:Sleepy", 2, seconds=0.02),
            stage("sum", "Sum"),
        ],
    }


@dataclass
class Load:
    """One run of one load: results come in through :meth:`see`, so that it is known when they flow."""

    name: str
    client: Client
    scale: float
    seen: int = 0
    last: float = field(default_factory=time.monotonic)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """(when, seconds) of each pause between two results of more than a tenth of a second."""

    def see(self, items: Iterator[Any]) -> Iterator[Any]:
        """Pass results on, and note when they came."""
        self.last = time.monotonic()
        for item in items:
            now = time.monotonic()
            if now - self.last > 0.1:
                self.gaps.append((self.last, now - self.last))
            self.last = now
            self.seen += 1
            yield item

    def run(self) -> str | None:
        """What is wrong with the results; None if nothing is."""
        return LOADS[self.name](self)


def _compare(got: Iterator[Any], expected: Iterator[Any]) -> str | None:
    count = 0
    for item in got:
        want = next(expected, None)
        if item != want:
            return f"result {count} is {item!r:.60}, not {want!r:.60}"
        count += 1
    left = sum(1 for _ in expected)
    return f"{left} results are missing after {count}" if left else None


def _tiny(load: Load) -> str | None:
    n = int(20_000 * load.scale)
    return _compare(load.see(load.client.map(range(n), pipeline="tiny")), sums(range(1, n + 1)))


def _wide(load: Load) -> str | None:
    n = int(60_000 * load.scale)
    job = load.client.submit(Task(n), pipeline="wide")
    return _compare(load.see(job.stream()), sums(range(1, n + 1)))


def _big(load: Load) -> str | None:
    n = int(60 * load.scale)

    def images() -> Iterator[Any]:
        for i in range(n):
            yield np.full((1024, 1024), i % 200, dtype=np.uint8)

    got = (hashlib.md5(np.asarray(image)).digest() for image in load.client.map(images(), pipeline="big"))
    expected = (hashlib.md5(np.full((1024, 1024), i % 200 + 2, dtype=np.uint8)).digest() for i in range(n))
    return _compare(load.see(got), expected)


def _slow(load: Load) -> str | None:
    n = int(150 * load.scale)
    return _compare(load.see(load.client.map(range(n), pipeline="slow")), iter(range(1, n + 1)))


def _clients(load: Load) -> str | None:
    """Many small jobs, one after the other."""
    for number in range(int(20 * load.scale)):
        first = 1000 * number  # no two have the same contents
        with Client(load.client.broker, timeout=60) as client:
            contents = range(first, first + 7 * number)
            got = client.map(contents, pipeline="tiny", name=f"small-{number}")
            problem = _compare(load.see(got), sums(content + 1 for content in contents))
        if problem:
            return f"job {number}: {problem}"
    return None


def _wild(load: Load) -> str | None:
    n = int(300 * load.scale)
    got = list(load.see(load.client.map(range(n), pipeline="wild")))
    at = 0
    for value in range(n):
        if at >= len(got):
            return f"results end at task {value}"
        _, execution, _, count = got[at]
        if got[at : at + count] != [[value, execution, i, count] for i in range(count)]:
            return f"the results of task {value} are of more than one execution"
        at += count
    return None if at == len(got) else "there are results too many"


def _batch(load: Load) -> str | None:
    n = int(20_000 * load.scale)
    got = load.see(load.client.map(range(n), pipeline="batch"))
    return _compare((total for total, _ in got), sums(range(n)))


def _function(load: Load) -> str | None:
    n = int(10_000 * load.scale)
    expected = sums(value for value in range(3 * n) if value % 2 == 0)
    return _compare(load.see(load.client.map(range(n), pipeline="function")), expected)


def _async(load: Load) -> str | None:
    """Half way through some of the generators, and for some tasks, there is a failure."""
    n = int(4000 * load.scale)
    expected: list[Any] = []
    total = 0
    for value in range(n):
        half_way = value % 9 == 8 and value % 5 > 2
        for i in range(2 if half_way else value % 5):
            if value % 7 == 6:
                expected.append("failed")
                continue
            total = (total * 31 + value + i) % 1_000_003
            expected.append(total)
        if half_way:
            expected.append("failed")
    got = load.see(load.client.map(range(n), pipeline="async", on_error="return"))
    return _compare(("failed" if isinstance(g, TaskError) else g for g in got), iter(expected))


LOADS: dict[str, Callable[[Load], str | None]] = {
    "tiny": _tiny,
    "wide": _wide,
    "big": _big,
    "slow": _slow,
    "clients": _clients,
    "wild": _wild,
    "batch": _batch,
    "function": _function,
    "async": _async,
}
"""Load -> what runs it."""
