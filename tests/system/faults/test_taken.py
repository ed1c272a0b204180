"""Feeds without an end: roots go as their results are taken, and the results stay right whoever dies then."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.stages.large import NUMBERS, frame, number_of
from tests.support.cluster import Cluster, eventually, stage
from tests.support.logged import logged
from zturbo import Task

N = 1200

pytestmark = pytest.mark.usefixtures("pool")


def first_chunk(cluster: Cluster) -> int:
    """The first chunk of roots that the ledger has still."""
    with sqlite3.connect(cluster.network.state / "ledger.db") as ledger:
        (seq,) = ledger.execute("SELECT coalesce(min(seq), 0) FROM chunk").fetchone()
    return int(seq)


def room(cluster: Cluster, pool: Path) -> int:
    """Bytes that large roots take, in files and in shared memory."""
    paths = [*cluster.network.state.glob("roots-*/*"), *cluster.network.state.glob("kept-*/*")]
    paths += pool.glob("kept-roots-*/*")
    taken = 0
    for path in paths:
        try:
            taken += 512 * path.stat().st_blocks
        except FileNotFoundError:
            continue
    return taken


@pytest.mark.parametrize("durability", ["fsync", "process"])
def test_a_feed_takes_room_for_what_is_under_way_alone(durability: str, pool: Path) -> None:
    frames = 400
    with Cluster({"p": [stage("keep", "tests.stages.large:Keeps")]}, durability=durability) as cluster:
        with cluster.client() as client:
            most = 0
            for number, array in enumerate(client.map(map(frame, range(frames)), pipeline="p")):
                assert number_of(array) == number
                most = max(most, room(cluster, pool))
            size = 8 * NUMBERS
            assert most > size, "the test looks where they are"
            assert most < frames * size / 2, "those whose results were taken are gone"


def slowly(numbers: range, gate: Path, ahead: int) -> Iterator[int]:
    """Numbers, of which those from one on wait until a gate is open."""
    for number in numbers:
        if number == ahead:
            eventually(gate.exists)
        yield number


def lose_results(cluster: Cluster) -> None:
    """The sink dies, and its spool is gone."""
    child = cluster.child("sink-0")
    for file in (cluster.network.state / "sink-0").iterdir():
        if file.is_file():
            file.unlink()
    os.kill(child.pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["sink", "broker", "sink and broker", "worker"])
def test_results_go_on_behind_those_that_were_taken(victim: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Cluster({"p": logged(tmp_path)}, lease=1.0) as cluster, cluster.client() as client:
        stream = client.map(slowly(range(N), gate, N - 300), pipeline="p", durability="process", name="long")
        got = [next(stream) for _ in range(N // 2)]
        eventually(lambda: first_chunk(cluster) > 0 or got.append(next(stream)) is not None)
        before = first_chunk(cluster)
        if "broker" in victim:
            cluster.kill("broker")
        if "sink" in victim:
            lose_results(cluster)
        if victim == "worker":
            cluster.kill("p.first")
        gate.touch()
        got += list(stream)
        assert got == list(range(N)), "equal to what one process gives"
        assert before > 0
        (job,) = [job for job in client.jobs() if job["name"] == "long"]
        assert (job["state"], job["results"], job["failed"]) == ("done", N, 0)


def test_failures_that_were_taken_are_counted_after_a_sinks_loss(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Cluster({"p": [stage("picky", "Picky")]}, lease=1.0) as cluster, cluster.client() as client:
        feed = slowly(range(N), gate, N - 300)
        stream = client.map(feed, pipeline="p", durability="process", name="long", on_error="skip")
        got = [next(stream) for _ in range(300)]
        eventually(lambda: first_chunk(cluster) > 0 or got.append(next(stream)) is not None)
        lose_results(cluster)
        gate.touch()
        got += list(stream)
        assert got == [number for number in range(N) if number not in (3, 7)]
        (job,) = [job for job in client.jobs() if job["name"] == "long"]
        assert (job["state"], job["results"], job["failed"]) == ("done", N - 2, 2)


def test_large_contents_of_a_killed_broker_are_sent_again_from_shared_memory(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stages = [stage("gate", "Gate", 2, path=str(gate)), stage("keep", "tests.stages.large:Keeps")]
    with Cluster({"p": stages}, durability="process") as cluster, cluster.client() as client:
        jobs = [client.submit(Task(frame(number)), pipeline="p", wait=True) for number in range(6)]
        cluster.kill("broker")
        cluster.kill("p.gate")
        gate.touch()
        for number, job in enumerate(jobs):
            (array,) = job.result(60)
            assert isinstance(array, np.ndarray) and number_of(array) == number
