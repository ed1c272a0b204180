"""A pipeline for a benchmark: all processes run on this host, in a temporary folder."""

from __future__ import annotations

import os
import platform
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zturbo import Client
from zturbo.deploy.children import broker_child, sink_child, worker_children
from zturbo.deploy.network import Network
from zturbo.runtime.net.host import host_name
from zturbo.runtime.node.node import Node

__all__ = ["machine", "pipeline"]


@contextmanager
def pipeline(stages: list[dict[str, Any]], durability: str) -> Iterator[tuple[Client, Node]]:
    """A running pipeline ``p`` and a client."""
    with tempfile.TemporaryDirectory(prefix="zt-bench-") as state:
        table = {
            "broker": {"bind": f"ipc://{state}/broker", "state": state},
            "pipeline": [{"name": "p", "durability": durability, "stage": stages}],
        }
        network = Network.parse(table, f"{state}/network.toml")
        node = Node(network.broker.bind, host=host_name())
        node.add(broker_child(network))
        node.add(sink_child(network))
        for stage in network.pipelines[0].stages:
            for child in worker_children(network, f"p.{stage.name}"):
                node.add(child)
        thread = threading.Thread(target=node.run)
        thread.start()
        try:
            with Client(network.broker.bind, timeout=30) as client:
                yield client, node
        finally:
            node.stop()
            thread.join()
            node.close()


def machine() -> str:
    """A line that describes the machine and its software."""
    model = "?"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
                break
    cpus = len(os.sched_getaffinity(0))
    return f"{cpus} CPUs ({model}), Linux {platform.release()}, Python {platform.python_version()}"
