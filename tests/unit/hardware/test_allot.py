"""How a host's CPUs and GPUs are given out to the workers of a network file."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from tests.unit.hardware.nvml import Gpu, fake_nvml
from zturbo.deploy.children import worker_children
from zturbo.deploy.network import Network
from zturbo.errors import StartError
from zturbo.hardware.allot import Allotment
from zturbo.hardware.cpus import Cpus


@pytest.fixture(autouse=True)
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with four CPUs, and two GPUs that a mask names."""
    monkeypatch.setattr("zturbo.hardware.allot.usable_cpus", lambda: Cpus([2, 3, 4, 5], False))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")


def gpus(parts: list[dict[str, list[Any]]]) -> list[list[Any]]:
    return [part["gpu"] for part in parts]


def test_in_turn(caplog: pytest.LogCaptureFixture) -> None:
    host = Allotment()
    assert host.take("p.a", {"cpu": 1}, 2) == [{"cpu": [2]}, {"cpu": [3]}]
    assert host.take("p.b", {"cpu": 2, "gpu": 1}, 1) == [{"cpu": [4, 5], "gpu": ["GPU-a"]}]
    assert host.take("p.c", {"gpu": 1}, 1) == [{"gpu": ["GPU-b"]}]
    assert host.take("p.d", {}, 3) == [{}, {}, {}]
    assert host.take("p.e", {"gpu": 0}, 2) == [{"gpu": []}, {"gpu": []}]
    assert not caplog.records


def test_cpus_are_shared_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    host = Allotment()
    with caplog.at_level(logging.WARNING):
        parts = host.take("p.a", {"cpu": 3}, 2, where="net.toml: pipeline.p.stage.a.resources")
        assert [part["cpu"] for part in parts] == [[2, 3, 4], [2, 3, 5]]
        assert host.take("p.b", {"cpu": 64}, 1) == [{"cpu": [2, 3, 4, 5]}]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == (
        "net.toml: pipeline.p.stage.a.resources: 2 workers of 3 CPUs each make it 6 CPUs in all, of 4 to "
        "be used here: workers share them"
    )
    assert said[1].startswith("p.b: 1 worker of 64 CPUs") and " 70 CPUs in all" in said[1]


def test_parts_of_a_gpu() -> None:
    host = Allotment()
    assert gpus(host.take("p.a", {"gpu": 0.5}, 1)) == [["GPU-a"]]
    assert gpus(host.take("p.b", {"gpu": 1}, 1)) == [["GPU-b"]]
    assert gpus(host.take("p.c", {"gpu": 0.25}, 2)) == [["GPU-a"], ["GPU-a"]]
    with pytest.raises(StartError, match=r"GPU-a \(0 of it free\), GPU-b \(0 of it free\)"):
        host.take("p.d", {"gpu": 0.1}, 1)
    thirds = Allotment()
    assert gpus(thirds.take("p.a", {"gpu": 1 / 3}, 6)) == [["GPU-a"]] * 3 + [["GPU-b"]] * 3


def test_too_few_gpus() -> None:
    host = Allotment()
    where = "net.toml: pipeline.p.stage.a.resources"
    with pytest.raises(StartError) as caught:
        host.take("p.a", {"cpu": 1, "gpu": 1}, 3, where=where)
    assert str(caught.value) == (
        "net.toml: pipeline.p.stage.a.resources.gpu: 3 workers of p.a with 1 GPU each do not fit: zturbo "
        "may use 2 here: GPU-a, GPU-b. Ask for fewer workers, or for part of a GPU each (gpu = 0.5), or run "
        "it on another host"
    )
    assert gpus(host.take("p.a", {"gpu": 2}, 1)) == [["GPU-a", "GPU-b"]]  # what was refused took nothing
    with pytest.raises(
        StartError, match=r"1 worker of p\.b with 2 GPUs each do not fit: .* GPU-a \(0 of it free\)"
    ):
        host.take("p.b", {"gpu": 2}, 1)


@pytest.mark.parametrize(
    "visible, found, said",
    [
        ("", None, r"finds no GPU to use here \(CUDA_VISIBLE_DEVICES is ''\)"),
        (
            None,
            None,
            r"finds no GPU to use here \(nvidia-ml-py is not installed \(pip install 'zturbo\[gpu\]'\)\)",
        ),
        (None, [], r"finds no GPU to use here \(there is none\)"),
        (
            None,
            [Gpu("GPU-a", 80), Gpu("GPU-b", 0, 0.9)],
            r"finds no GPU to use here \(all are busy\); busy: 0 \(load 80%, memory 0% in use\), "
            r"1 \(load 0%, memory 90% in use\); name them in CUDA_VISIBLE_DEVICES to use them all",
        ),
    ],
)
def test_no_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, found: list[Gpu] | None, said: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setitem(sys.modules, "pynvml", None if found is None else fake_nvml(found))
    with pytest.raises(StartError, match=said):
        Allotment().take("p.a", {"gpu": 0.5}, 1)


def test_workers_of_a_network_file(caplog: pytest.LogCaptureFixture) -> None:
    stage = {"name": "s", "class": "m:S", "workers": 2, "resources": {"cpu": 2, "gpu": 1}}
    network = Network.parse({"pipeline": [{"name": "p", "stage": [stage, {"name": "t", "class": "m:T"}]}]})
    assert [child.spec["resources"] for child in worker_children(network, "p.s")] == [
        {"gpu": ["GPU-a"], "cpu": [2, 3]},
        {"gpu": ["GPU-b"], "cpu": [4, 5]},
    ]
    assert [child.spec["resources"] for child in worker_children(network, "p.t", 2)] == [{}, {}]
    with pytest.raises(
        StartError, match=r"^network: pipeline\.p\.stage\.s\.resources\.gpu: 3 workers of p\.s"
    ):
        worker_children(network, "p.s", 3)
    host = Allotment()
    worker_children(network, "p.s", 2, allotment=host)
    with pytest.raises(StartError, match="do not fit"):
        worker_children(network, "p.s", 1, allotment=host)
