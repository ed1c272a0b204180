"""A broker on an IPv6 address."""

from __future__ import annotations

import socket

from tests.support.cluster import Cluster, stage
from zturbo import Task


def test_a_broker_on_the_ipv6_loopback() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        port = probe.getsockname()[1]
    bind = f"tcp://[::1]:{port}"
    with (
        Cluster({"p": [stage("add", "Add")]}, broker={"bind": bind}, address="::1") as cluster,
        cluster.client() as client,
    ):
        assert client.submit(Task(1), pipeline="p").result(timeout=60) == [2]
