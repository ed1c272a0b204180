"""A node's look at the GPUs of its host: it never waits for a driver, and outlives all that one does."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.cluster import eventually
from tests.unit.hardware.nvml import Gpu, fake_nvml
from zturbo.runtime.node.gpus import EVERY, GpuWatch


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gpus"]


def install(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu, driver: bool = True) -> Any:
    module = fake_nvml(list(gpus), driver=driver)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_it_looks_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def memory(gpu: Gpu) -> Any:
        nonlocal looks
        looks += 1
        return SimpleNamespace(used=10 * looks, total=1000)

    module = install(monkeypatch, Gpu("GPU-a", load=250))
    module.nvmlDeviceGetMemoryInfo = memory
    watch = GpuWatch()
    assert watch.latest(0.0) == ()
    eventually(lambda: watch.latest(0.1) != ())
    (gpu,) = watch.latest(0.2)
    assert (gpu.uuid, gpu.load, gpu.used, gpu.total) == ("GPU-a", 100, 10, 1000), (
        "within the message's bounds"
    )
    assert looks == 1
    watch.latest(EVERY)
    eventually(lambda: watch.latest(EVERY)[0].used == 20)
    watch.close()
    eventually(lambda: not threads())
    assert (looks, module.shutdowns) == (2, 1)


def test_a_driver_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    module, answer = install(monkeypatch, Gpu("GPU-a")), threading.Event()
    module.nvmlInit = lambda: answer.wait() and None
    watch = GpuWatch()
    assert [watch.latest(now) for now in (0.0, 1.0, 2.0)] == [(), (), ()]
    assert len(threads()) == 1
    watch.close()
    answer.set()
    eventually(lambda: not threads())


def test_whatever_a_driver_raises_ends_the_looks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = install(monkeypatch, Gpu("GPU-a"))
    watch = GpuWatch()
    watch.latest(0.0)
    eventually(lambda: watch.latest(0.1) != ())

    def broken(gpu: Gpu) -> str:
        raise RuntimeError("the driver is broken")

    module.nvmlDeviceGetName = broken
    watch.latest(5.0)
    eventually(lambda: not threads())
    assert watch.latest(9.0) == () and not threads()


def test_without_the_library_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuWatch().latest(0.0) == () and not threads()


def test_the_real_library_without_a_driver_ends_the_thread_at_once() -> None:
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install 'zturbo[gpu]'")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        watch = GpuWatch()
        assert watch.latest(0.0) == ()
        eventually(lambda: not threads())
        assert watch.latest(5.0) == () and not threads()
    else:
        nvml.nvmlShutdown()
        pytest.skip("this host has a driver of NVIDIA")
