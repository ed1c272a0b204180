"""A node of some stages' workers: ``python -m tests.chaos.node FILE ADDRESS PIPELINE.STAGE ...``."""

from __future__ import annotations

import signal
import sys

from zturbo.deploy.children import worker_children
from zturbo.deploy.network import Network
from zturbo.runtime.node.node import Node


def main() -> int:
    """Until it is told to stop."""
    file, address, *stages = sys.argv[1:]
    network = Network.load(file)
    node = Node(network.broker.bind, host=address, lease=network.broker.lease)
    for stage in stages:
        for child in worker_children(network, stage, 1, address=address):
            node.add(child)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop())
    try:
        node.run()
    finally:
        node.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
