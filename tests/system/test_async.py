"""Stages that are ``async def``, on real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.cluster import Cluster, stage
from zturbo import Client


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pipelines = {
        "together": [stage("together", "Together")],
    }
    with Cluster(pipelines) as running:
        yield running


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as running:
        yield running


def test_fifty_tasks_overlap_in_one_worker_and_keep_their_order(client: Client) -> None:
    results = list(client.map(range(500), pipeline="together"))
    assert [content for content, _ in results] == list(range(500))
    assert results[-1][1] == 50
