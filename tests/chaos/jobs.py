"""Faults that are jobs of their own, beside the load: what they do, and what they must give."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.chaos.faults import LEASE, Victims
from tests.chaos.loads import ASIDE
from tests.stages.basic import sums
from tests.stages.trouble import DEADLY, GOOD
from tests.support.cluster import eventually
from zturbo import Client, Job, Task
from zturbo.errors import JobCancelled, WorkerLost
from zturbo.jobstates import LIVE

__all__ = ["HOLD", "JOBS", "SHARE"]

HOLD = 2 * LEASE + 1
"""Seconds for which code keeps the interpreter."""

SHARE = 16 << 20
"""Bytes of unread results that a job may have before it is paused."""

MANY = 200_000
"""Tasks of a job that is cancelled before it ends."""

FEW = 60
"""Tasks beside one that makes trouble."""

READER = """
import sys
from zturbo import Client
with Client(sys.argv[1], timeout=60) as client:
    for value in client.attach(sys.argv[2]).stream():
        print(value, flush=True)
"""


def _client(victims: Victims) -> Client:
    return Client(victims.cluster.address, timeout=60)


def _name(victims: Victims, what: str) -> str:
    return f"{what}-{victims.rng.getrandbits(32):08x}"


def _with_trouble(victims: Victims, pipeline: str) -> str:
    """A pipeline with a stage that makes trouble if it is asked to: the load's, if it has one."""
    own = {"tiny": "tiny", "slow": "slow"}
    return own.get(pipeline) or victims.rng.choice(sorted(own))


def _expected(pipeline: str, contents: list[Any]) -> list[Any]:
    """What good contents, and troubles that are over, give."""
    plus = [content + 1 if isinstance(content, int) else GOOD for content in contents]
    return list(sums(plus)) if pipeline == "tiny" else plus


# -- what is asked for is done once ---------------------------------------------------------------
def _once(victims: Victims, pipeline: str, asked: str) -> str:
    pipeline = _with_trouble(victims, pipeline)
    at = victims.rng.randrange(FEW)

    def run() -> str | None:
        with tempfile.TemporaryDirectory(prefix="zt-once-") as folder, _client(victims) as client:
            contents: list[Any] = list(range(ASIDE, ASIDE + FEW))
            contents.insert(at, [asked, f"{folder}/once"])
            got = list(client.map(contents, pipeline=pipeline, name=asked))
            if not Path(folder, "once").exists():
                return f"nobody was asked for {asked}"
            expected = _expected(pipeline, contents)
            return None if got == expected else f"beside one that was asked for {asked}: {got} != {expected}"

    victims.aside(run)
    return f"a task of {pipeline}"


def memory(victims: Victims, pipeline: str) -> str | None:
    """A task takes more memory than there is."""
    return None if victims.group is None else _once(victims, pipeline, "memory")


def exits(victims: Victims, pipeline: str) -> str:
    """A task ends its worker, in one way or another."""
    asked = victims.rng.choice([way for way in DEADLY if way != "generator"])
    return f"{asked}, {_once(victims, pipeline, asked)}"


def hold(victims: Victims, pipeline: str) -> str:
    """A task keeps the interpreter for longer than a lease."""
    return _once(victims, pipeline, "hold")


# -- each time ------------------------------------------------------------------------------------
def poison(victims: Victims, pipeline: str) -> str:
    """A task that kills whoever runs it, among good ones."""
    pipeline = _with_trouble(victims, pipeline)
    asked = victims.rng.choice(DEADLY if victims.group is None else [*DEADLY, "memory"])
    at = victims.rng.randrange(FEW)

    def run() -> str | None:
        with _client(victims) as client:
            good: list[Any] = list(range(ASIDE, ASIDE + FEW))
            contents = [*good[:at], [asked, ""], *good[at:]]
            got = list(client.map(contents, pipeline=pipeline, name="poison", on_error="return"))
        errors = [value for value in got if isinstance(value, BaseException)]
        if [type(error) for error in errors] != [WorkerLost]:
            return f"beside one poisoned task ({asked}): {errors}"
        rest = [value for value in got if not isinstance(value, BaseException)]
        expected = _expected(pipeline, good)
        if asked == "generator" and rest != expected:  # what it gave before it killed got away, and stands
            expected = _expected(pipeline, [*good[:at], [asked, ""], *good[at:]])
        return None if rest == expected else f"beside a poisoned task ({asked}): {rest} != {expected}"

    victims.aside(run)
    return f"{asked}, a task of {pipeline}"


def hang(victims: Victims, pipeline: str) -> str:
    """A task never ends, and its job is cancelled."""
    pipeline = _with_trouble(victims, pipeline)
    name = _name(victims, "hang")

    def run() -> str | None:
        with tempfile.TemporaryDirectory(prefix="zt-hang-") as folder, _client(victims) as client:
            pids = Path(folder, "pids")
            job = client.submit(Job(name, Task(["hang", str(pids)])), pipeline=pipeline)
            eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
            job.cancel()
            try:
                return f"a job that hangs gave {job.result(timeout=60)}"
            except JobCancelled:
                pass
            ran = [int(pid) for pid in pids.read_text().split()]
            eventually(lambda: not any(map(psutil.pid_exists, ran)))
            return None

    victims.aside(run)
    return f"a task of {pipeline}"


# -- clients --------------------------------------------------------------------------------------
def cancel(victims: Victims, pipeline: str) -> str:
    """Another job of the same pipeline is cancelled in its midst."""
    name = _name(victims, "cancelled")

    def run() -> str | None:
        with _client(victims) as client:
            if pipeline in ("wide", "big"):
                job = client.submit(Job(name, Task(10 * MANY)), pipeline="wide")
                stream = job.stream()
                next(stream)
                job.cancel()
                try:
                    return f"a cancelled job went on to result {sum(1 for _ in stream)}"
                except JobCancelled:
                    return None
            mapped = client.map(range(ASIDE, ASIDE + MANY), pipeline=pipeline, name=name)
            next(mapped)
            mapped.close()
            left = [job for job in client.jobs() if job["name"] == name and job["state"] in LIVE]
            return f"a map that was closed goes on: {left}" if left else None

    victims.aside(run)
    return "a job of its own"


def client(victims: Victims, pipeline: str) -> str:
    """A client is killed while it reads; another goes on at the cursor."""
    n = 20_000
    lines = victims.rng.randrange(1, 3000)

    def run() -> str | None:
        with _client(victims) as client:
            job = client.submit(Task(n), pipeline="wide")
            words = [sys.executable, "-c", READER, victims.cluster.address, job.id]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as reader:
                assert reader.stdout is not None
                for _ in range(lines):
                    reader.stdout.readline()
                reader.kill()
            everything = list(client.attach(job.id, from_start=True).stream(timeout=120))
            rest = list(client.attach(job.id).stream(timeout=120))
            if len(everything) != n or rest != everything[n - len(rest) :]:
                return f"a client that attached got {len(everything)} and {len(rest)} of {n} results"
            return None

    victims.aside(run)
    return "a client of its own"


def slow_client(victims: Victims, pipeline: str) -> str:
    """A client does not read, so that its job is paused; then it does."""
    n = 250
    size = 10 * SHARE // n
    name = _name(victims, "unread")

    def run() -> str | None:
        with _client(victims) as client:
            images = (np.full(size, i, dtype=np.uint8) for i in range(n))
            stream = client.map(images, pipeline="big", name=name)
            got = [int(next(stream)[0])]

            def paused() -> bool:
                (job,) = (job for job in client.jobs() if job["name"] == name)
                return "results to be read" in str(job["waiting"])

            eventually(paused)
            time.sleep(1)
            got += [int(image[-1]) for image in stream]
            return None if got == [i + 2 for i in range(n)] else f"a client that was slow got {got}"

    victims.aside(run)
    return "a client of its own"


JOBS: dict[str, Callable[[Victims, str], str | None]] = {
    "memory": memory,
    "exit": exits,
    "hold": hold,
    "poison": poison,
    "hang": hang,
    "cancel": cancel,
    "client": client,
    "slow-client": slow_client,
}
"""Name -> what does it beside a load of a pipeline."""
