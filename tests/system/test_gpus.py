"""GPUs of a host, from its node to those who look. There is no GPU here: a double of NVML shows some."""

from __future__ import annotations

import json
import sys
import threading

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.unit.hardware.nvml import Gpu, fake_nvml
from zturbo.cli import main

STAGES = [stage("a", "tests.stages.contents:Same", 1)]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gpus"]


def test_the_gpus_of_a_host_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = [Gpu("GPU-a", load=45, memory=0.25), Gpu("GPU-b", load=None)]
    module = fake_nvml(gpus)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    with Cluster({"p": STAGES}, lease=1.0) as cluster, cluster.client() as client:
        eventually(lambda: len(client.hosts()[0]["gpus"]) == 2)
        (host,) = client.hosts()
        first = {
            "index": 0,
            "uuid": "GPU-a",
            "name": "NVIDIA Test 80GB",
            "load": 45,
            "used": 250,
            "total": 1000,
        }
        assert host["gpus"][0] == first and host["gpus"][1]["load"] is None
        assert client.telemetry()["gpus"] == {host["host"]: host["gpus"]}
        gpus[0].load = 77
        eventually(lambda: client.hosts()[0]["gpus"][0]["load"] == 77)
        broker = ["--broker", cluster.address]
        assert main(["hosts", *broker]) == 0
        assert "  GPU 0 (NVIDIA Test 80GB): 77 %, 0 MB of 0 MB\n" in capsys.readouterr().out
        assert main(["top", "--once", *broker]) == 0
        assert "2 x NVIDIA Test 80GB" in capsys.readouterr().out
        assert main(["top", "--once", "--json", *broker]) == 0
        assert json.loads(capsys.readouterr().out)["hosts"][0]["gpus"][0]["load"] == 77

        def breaks(gpu: Gpu) -> str:
            raise RuntimeError("the driver is broken")

        module.nvmlDeviceGetName = breaks
        eventually(lambda: client.hosts()[0]["gpus"] == [])
        assert list(client.map([1], "p")) == [1]
    eventually(lambda: not threads())


def test_without_a_driver_nothing_is_shown_and_nothing_ends() -> None:
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install 'zturbo[gpu]'")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        pass
    else:
        pytest.skip("this host has a driver of NVIDIA")
    with Cluster({"p": STAGES}, lease=1.0) as cluster, cluster.client() as client:
        assert list(client.map([1], "p")) == [1]
        eventually(lambda: not threads())
        assert client.hosts()[0]["gpus"] == [] and client.telemetry()["gpus"] == {}
