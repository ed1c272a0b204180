"""What processes measure of themselves, on real ones: where the time goes, and what waits."""

from __future__ import annotations

from typing import Any

from tests.support.cluster import Cluster, eventually, stage
from zturbo.telemetry.bottleneck import bottleneck
from zturbo.telemetry.flow import by_host, by_pipeline

SECONDS = 0.02
"""That a task of the slow stage takes."""


def test_shared_memory_is_told_while_it_is_used() -> None:
    with (
        Cluster({"p": [stage("same", "tests.stages.contents:Same", 1)]}) as cluster,
        cluster.client() as client,
    ):
        kept = client.map((bytes([i]) * (1 << 20) for i in range(50)), "p")
        next(kept)

        def shared() -> int:
            hosts = by_host(client.telemetry())
            return max((host.shared for host in hosts), default=0)

        eventually(lambda: shared() >= 1 << 20, 40)
        assert len(list(kept)) == 49


def test_a_slow_stage_can_be_told_from_those_around_it() -> None:
    stages = [
        stage("before", "tests.stages.contents:Same", 1),
        stage("slow", "Nap", 1, seconds=SECONDS),
        stage("after", "tests.stages.contents:Same", 1),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        found: list[dict[str, Any]] = []

        def named() -> bool:
            found[:] = [client.telemetry()]
            (pipeline,) = by_pipeline(found[0])
            limits = bottleneck(pipeline).stage == "slow"
            return limits and pipeline.stages[1].busy == 1 and pipeline.stages[1].waiting > 1000

        results = client.map(range(100_000), "p")
        next(results)
        eventually(named, 40)
        results.close()
    (pipeline,) = by_pipeline(found[0])
    before, slow, after = pipeline.stages
    assert [stage.wanted for stage in pipeline.stages] == [1, 1, 1]
    assert (slow.busy, len(slow.workers), slow.starting) == (1, 1, 0)
    assert after.load < slow.load
    median = slow.quantile(0.5)
    assert median is not None and median > SECONDS * 0.8
    (host,) = by_host(found[0])
    assert host.processes == 4 and min(host.memory, host.cores) > 0
    assert min(worker["latest"]["tasks"] for worker in found[0]["members"]) > 0
    assert before.rate or before.waiting
