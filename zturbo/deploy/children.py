"""Turns a network file into the specs of its child processes."""

from __future__ import annotations

from typing import Any

from zturbo.deploy.network import Network
from zturbo.hardware.allot import Allotment
from zturbo.runtime.net.listening import Listening
from zturbo.runtime.node.children import ChildSpec
from zturbo.runtime.process.boot import MODULES
from zturbo.slotted import replace
from zturbo.wire.payload import pack_one

__all__ = ["broker_child", "sink_child", "worker_children"]


def _tcp(network: Network, address: Listening | str | None) -> dict[str, Any]:
    """Where a process listens beside ipc, which processes of one host need not share."""
    listening = address if isinstance(address, Listening) else Listening((address or "127.0.0.1",))
    listen = network.listen
    return replace(listening, half_open=listen.half_open, connections=listen.connections).to_spec()


def broker_child(
    network: Network, *, address: Listening | str | None = None, debug: bool = False
) -> ChildSpec:
    """The spec of a network file's broker.

    Args:
        network: the file.
        address: where it listens for others, or its one host name or IP; None if only this host reaches it.
        debug: whether the broker logs at DEBUG.
    """
    pipelines: list[dict[str, Any]] = [
        {
            "name": pipeline.name,
            "stages": [stage.name for stage in pipeline.stages],
            "durability": pipeline.durability,
            "order": pipeline.order,
            "logs": pipeline.logs,
            "code": pipeline.code,
            "max_task_bytes": pipeline.max_task_bytes,
            "max_task_retries": pipeline.max_task_retries,
        }
        for pipeline in network.pipelines
    ]
    spec = {
        "bind": network.broker.bind,
        "state": str(network.state),
        "lease": network.broker.lease,
        "feed_timeout": network.broker.feed_timeout,
        "limits": network.broker.limits,
        "pipelines": pipelines,
        "tcp": _tcp(network, address),
        "debug": debug,
        "keys": network.keys,
        "shared": network.broker.jobs == "shared",
        "open": network.is_open,
    }
    return ChildSpec("broker", "broker", MODULES["broker"], spec)


def sink_child(
    network: Network, number: int = 0, *, address: Listening | str | None = None, debug: bool = False
) -> ChildSpec:
    """The spec of a sink of a network file.

    Args:
        network: the file.
        number: tells the sinks of one host apart.
        address: where it listens for others, or its one host name or IP; None if only this host reaches it.
        debug: whether the sink logs at DEBUG.
    """
    spec = {
        "name": f"sink-{number}",
        "spool": str(network.state / f"sink-{number}"),
        "results": _tcp(network, address),
        "share": network.broker.spool_share,
        "tcp": _tcp(network, address),
        "debug": debug,
    }
    return ChildSpec("sink", f"sink-{number}", MODULES["sink"], spec)


def worker_children(
    network: Network,
    stage: str,
    count: int | None = None,
    *,
    allotment: Allotment | None = None,
    address: Listening | str | None = None,
    debug: bool = False,
) -> list[ChildSpec]:
    """The specs of a stage's workers.

    Args:
        network: the file.
        stage: the stage, ``pipeline.stage``.
        count: number of workers; None for the number in the file.
        allotment: the CPUs and GPUs that other stages of the same command have taken; None if there are none.
        address: where they listen for others, or their one host name or IP; None if only this host reaches
            them.
        debug: whether the workers log at DEBUG.

    Raises:
        NetworkFileError: the file has no such stage.
        StartError: this host has too few GPUs.
    """
    pipeline, index = network.find(stage)
    spec = pipeline.stages[index]
    if spec.stage is not None:
        from zturbo.deploy.shipped import shipped_workers  # it takes long to import, and few need it

        spec.stage.num_worker = spec.workers if count is None else count
        names = [other.name for other in pipeline.stages]
        shipped = shipped_workers(pipeline.name, names, index, spec.stage, spec.task_timeout)
        more = {"tcp": _tcp(network, address), "debug": debug, "logs": str(network.state / "logs")}
        return [ChildSpec("worker", stage, MODULES["worker"], {**one, **more}) for one in shipped]
    where = f"{network.path}: pipeline.{pipeline.name}.stage.{spec.name}.resources"
    workers = spec.workers if count is None else count
    parts = (allotment or Allotment()).take(stage, spec.resources, workers, where=where)
    out = []
    for worker_id, part in enumerate(parts):
        worker = {
            "pipeline": pipeline.name,
            "stage": spec.name,
            "index": index,
            "stages": len(pipeline.stages),
            "class": spec.cls,
            "args": pack_one(dict(spec.args))[0],  # TOML has dates, and large numbers
            "resources": part,
            "worker_id": worker_id,
            "max_task_bytes": pipeline.max_task_bytes,
            "task_timeout": spec.task_timeout,
            "peers": pipeline.peers,
            "tcp": _tcp(network, address),
            "debug": debug,
            "logs": str(network.state / "logs"),
        }
        out.append(ChildSpec("worker", stage, MODULES["worker"], worker))
    return out
