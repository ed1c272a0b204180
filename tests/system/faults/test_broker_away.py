"""A broker that is away for a good while, in the middle of a long job."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, Task

ROOTS = 300_000
AWAY = 20.0
"""Seconds without a broker: four leases."""


def executions(path: Path, n: int) -> bytearray:
    """How often each of the contents 0 .. n - 1 was processed."""
    times = bytearray(n)
    with path.open() as file:
        for line in file:
            times[int(line)] += 1
    return times


@pytest.mark.slow
def test_a_broker_that_is_away_while_roots_are_fed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stages = [
        stage("first", "Log", path=str(tmp_path / "first")),
        stage("second", "Log", path=str(tmp_path / "second")),
    ]
    half = threading.Event()

    def roots() -> Iterator[int]:
        for i in range(ROOTS):
            if i == ROOTS // 2:
                cluster.kill_and_keep_away("broker")
                half.set()
            yield i

    def said(name: str, what: str) -> int:
        return sum(record.name == name and what in record.message for record in caplog.records)

    with (
        Cluster({"p": stages, "add": [stage("add", "Add")]}) as cluster,
        Client(cluster.address, timeout=200) as client,
        caplog.at_level(logging.WARNING),
    ):
        got = iter(client.map(roots(), pipeline="p", name="long"))
        outage: list[dict[str, Any]] = []
        meanwhile = Job("meanwhile", Task(1))

        def others() -> None:
            """What happens beside the long job."""
            half.wait()
            submitter = threading.Thread(target=client.submit, args=(meanwhile, "add"), kwargs={"wait": True})
            submitter.start()
            threading.Event().wait(AWAY)
            for name in ("zturbo.client", "zturbo.node"):
                eventually(lambda: said(name, "does not answer") > said(name, "answers again"))  # noqa: B023
            assert submitter.is_alive(), "it asks on"
            cluster.let_back("broker")
            submitter.join()
            outage.extend(client.jobs())

        beside = threading.Thread(target=others)
        beside.start()
        n = 0
        for value in got:
            assert value == n
            n += 1
        beside.join()
        assert n == ROOTS
        jobs = {job["name"]: job for job in outage}
        assert sorted(job["name"] for job in outage) == ["long", "meanwhile"], "each is one job"
        assert jobs["long"]["epoch"] == 1 and jobs["long"]["state"] in ("waiting", "running")
        for name in ("zturbo.client", "zturbo.node"):
            eventually(lambda: said(name, "answers again") > 0)  # noqa: B023
        again = client.submit(meanwhile, pipeline="add")
        assert again.result(timeout=60) == [2]
        assert sorted(job["name"] for job in client.jobs()) == ["long", "meanwhile"], (
            "the same job, submitted again"
        )
        assert not [event for event in cluster.events if event[0] == "exited" and event[1] != "broker"]
    for name in ("first", "second"):
        assert executions(tmp_path / name, ROOTS) == b"\1" * ROOTS, "each exactly once"
