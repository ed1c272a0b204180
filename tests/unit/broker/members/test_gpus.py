"""GPUs of hosts, as nodes tell of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.driven import WORKER, broker, hello, worker
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.gpu import MAX_GPUS, Gpu
from zturbo_broker.members import gpus
from zturbo_broker.members.gpus import HostGpus

NODE, CLIENT = b"n" * 16, b"c" * 16


def gpu(index: int, uuid: str = "", **more: Any) -> Gpu:
    fields = {"name": "A", "load": 5, "used": 10, "total": 100}
    return Gpu(index=index, uuid=uuid or f"GPU-{index}", **{**fields, **more})


def test_each_gpu_of_a_host_is_there_once_as_it_was_told_last() -> None:
    hosts = HostGpus(10.0)
    hosts.told("a", [gpu(1), gpu(0)], 0.0)
    hosts.told("a", [gpu(0, load=9)], 1.0)
    hosts.told("b", [gpu(0, "GPU-9")], 5.0)
    assert hosts.all(6.0) == {"a": (gpu(0, load=9), gpu(1)), "b": (gpu(0, "GPU-9"),)}
    hosts.told("b", [gpu(1, "GPU-8")], 9.0)
    assert hosts.all(10.5) == {"a": (gpu(0, load=9),), "b": (gpu(0, "GPU-9"), gpu(1, "GPU-8"))}, "one is gone"
    assert hosts.all(16.0) == {"b": (gpu(1, "GPU-8"),)}, "a's nodes have said nothing for too long"


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "MOST_HOSTS", 2)
    hosts = HostGpus(10.0)
    for host in "abc":
        hosts.told(host, [gpu(i, f"{host}{i}") for i in range(MAX_GPUS)], 0.0)
        hosts.told(host, [gpu(0, "one more")], 0.0)
    assert {host: len(found) for host, found in hosts.all(1.0).items()} == {"a": MAX_GPUS, "b": MAX_GPUS}
    hosts.told("c", [gpu(0)], 11.0)
    assert list(hosts.all(11.0)) == ["c"]


def test_clients_see_what_a_node_tells_with_its_leases() -> None:
    machine = broker()
    hello(machine, worker())
    machine.control(NODE, to_broker.Renew(node=NODE, alive=(b"?" * 16,), gpus=(gpu(7),)), 0.0)
    machine.control(NODE, to_broker.Renew(node=NODE, alive=(WORKER,), gpus=(gpu(0),)), 0.0)
    machine.effects.clear()
    machine.control(CLIENT, to_broker.Members(ref=1), 1.0)
    machine.control(CLIENT, to_broker.Telemetry(ref=2), 1.0)
    told = [effect.message for effect in machine.effects if hasattr(effect, "message")]
    values = [message.value for message in told if isinstance(message, from_broker.Ok)]
    assert [value.gpus for value in values] == [{"h": (gpu(0),)}] * 2
