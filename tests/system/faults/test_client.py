"""Clients that die, are slow, or do not read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo.errors import (
    ClientLost,
)


def test_a_client_that_dies_while_it_feeds() -> None:
    with Cluster({"p": [stage("add", "Add")]}, broker={"feed_timeout": 5}) as cluster:
        code = f"""
            import itertools, time
            from zturbo import Client
            with Client({cluster.address!r}) as client:
                for value in client.map(itertools.count(), pipeline="p", name="orphan"):
                    if value == 100:
                        print("running", flush=True)
        """
        with cluster.client() as client:
            with subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
            ) as feeder:
                assert feeder.stdout is not None
                assert feeder.stdout.readline() == "running\n"
                (job,) = client.jobs()
                feeder.kill()
            with pytest.raises(ClientLost, match=r"not heard of for 5 s"):
                client.attach(job["id"]).result(timeout=20)


def test_a_slow_source_is_no_lost_client() -> None:
    with Cluster({"p": [stage("add", "Add")]}, broker={"feed_timeout": 5}) as cluster:
        with cluster.client() as client:

            def source() -> object:
                yield 1
                time.sleep(8)
                yield 2

            assert list(client.map(source(), pipeline="p")) == [2, 3]  # type: ignore[arg-type]


def test_attach_goes_on_at_the_cursor_after_the_clients_death(tmp_path: Path) -> None:
    with Cluster({"p": [stage("count", "Count")]}) as cluster:
        code = f"""
            import time
            from zturbo import Client, Task
            with Client({cluster.address!r}) as client:
                job = client.submit(Task(50_000), pipeline="p")
                for value in job.stream():
                    if value == 20_000:
                        print(job.id, flush=True)
                        time.sleep(1000)
        """
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
        ) as first:
            assert first.stdout is not None
            name = first.stdout.readline().strip()
            time.sleep(2.5)  # its next question tells the sink how far it is
            os.kill(first.pid, signal.SIGKILL)
        with cluster.client() as client:
            rest = list(client.attach(name).stream(timeout=30))
            assert rest == list(range(rest[0], 50_000))
            assert 0 < rest[0] <= 20_001, "never more than what was taken"
            assert list(client.attach(name).result(timeout=30)) == list(range(50_000))


def test_a_client_that_does_not_read_pauses_its_own_job_alone() -> None:
    stages = [stage("slow", "Slow", seconds=0.005)]  # it takes longer than to tell the broker
    with Cluster({"p": stages}, broker={"spool_share": 16_000_000}) as cluster, cluster.client() as client:
        stream = client.map((b"x" * 50_000 for _ in range(1_500)), pipeline="p")
        next(stream)
        eventually(lambda: "results to be read" in str(client.jobs()[0]["waiting"]))
        job = client.jobs()[0]["id"]
        for _ in range(3):
            assert list(client.map(range(20), pipeline="p")) == list(range(20)), "others go on"
        counts = [-1]

        def settled() -> bool:
            counts.append(client.jobs(job)[0]["results"])
            time.sleep(1.5)
            return counts[-1] == counts[-2]

        eventually(settled)
        assert 0 < counts[-1] < 1_500, "it is paused"
        assert sum(1 for _ in stream) == 1_499
