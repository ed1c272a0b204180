"""GPUs that a process may use: from CUDA_VISIBLE_DEVICES, and from a double of NVML, since no GPU is here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.hardware.nvml import Gpu, fake_nvml
from zturbo import Resources, Stage, System, Task
from zturbo.errors import UsageError
from zturbo.hardware.gpus import GpuUse, gpu_uses, is_device, usable_gpus

A, B, C = "GPU-aaaa1111-0", "GPU-bbbb2222-0", "GPU-cccc3333-0"

Place = Callable[..., Any]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Puts a double in NVML's place; with None, as where it is not installed."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(gpus: list[Gpu] | None, *, visible: str | None = None, driver: bool = True) -> Any:
        module = None if gpus is None else fake_nvml(gpus, driver=driver)
        monkeypatch.setitem(sys.modules, "pynvml", module)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return module

    return put


@pytest.mark.parametrize("nvml", [None, []])
@pytest.mark.parametrize(
    "visible, ids",
    [
        ("0,1", [0, 1]),
        ("3, 1", [3, 1]),
        (A, [A]),
        (f"{A},{B}", [A, B]),
        (f"0,{B}", [0, B]),
        ("MIG-1c7e5f2a-0", ["MIG-1c7e5f2a-0"]),
        ("MIG-GPU-aaaa1111-0/1/0", ["MIG-GPU-aaaa1111-0/1/0"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,2,-1,1", [0, 2]),  # CUDA reads up to the first that is none
        ("0,cuda:1,2", [0]),
        ("1,1", [1]),
    ],
)
def test_an_outer_mask_where_no_driver_answers(
    place: Place, nvml: list[Gpu] | None, visible: str, ids: list[int | str]
) -> None:
    place(nvml, visible=visible, driver=False)
    assert Resources().get("gpu") == ids
    assert Resources() == Resources({"cpu": Resources().get("cpu"), **({"gpu": ids} if ids else {})})


def test_none_without_library_driver_or_gpu(place: Place) -> None:
    place(None)
    assert usable_gpus(0.1, 0.1) == (
        [],
        [],
        "nvidia-ml-py is not installed (pip install 'zturbo[gpu]')",
    )
    place([], driver=False)
    assert usable_gpus(0.1, 0.1) == ([], [], "the NVIDIA driver does not answer: Driver Not Loaded")
    module = place([])
    assert usable_gpus(0.1, 0.1) == ([], [], "there is none") and module.shutdowns == 1
    assert "gpu" not in Resources().resources


def test_idle_ones_are_found(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place(
        [Gpu(A, 5), Gpu(B, 50), Gpu(C, 0, 0.5), Gpu("GPU-d", None, knows_mig=False), Gpu("GPU-e", lost=True)]
    )
    assert Resources().get("gpu") == [0, 3]
    assert Resources(gpu_load=0.6).get("gpu") == [0, 1, 3]
    assert Resources(gpu_memory=0.5).get("gpu") == [0, 2, 3]
    assert Resources(gpu_load=0.0, gpu_memory=0.0).get("gpu") == [3]
    found = usable_gpus(0.1, 0.1)
    assert found.busy == ["1 (load 50%, memory 0% in use)", "2 (load 0%, memory 50% in use)"]
    assert "GPU 4 is left out: GPU is lost" in caplog.text


def test_a_gpu_in_mig_mode_is_its_parts(place: Place) -> None:
    parts = [Gpu("MIG-1", None, 0.0), None, Gpu("MIG-2", None, 0.9), Gpu("MIG-3", None)]
    place([Gpu(A, mig=parts), Gpu(B, mig=[None]), Gpu(C)])
    assert Resources().get("gpu") == ["MIG-1", "MIG-3", 2]
    place([Gpu(A, mig=parts), Gpu(B)], visible="MIG-2,1,MIG-7")
    assert Resources().get("gpu") == ["MIG-2", 1]


@pytest.mark.parametrize(
    "visible, ids, missing",
    [
        ("1", [1], None),  # busy, but named
        ("GPU-bbbb", ["GPU-bbbb"], None),
        (f"{B},0", [B, 0], None),
        (f"MIG-{A}/1/0", [f"MIG-{A}/1/0"], None),
        ("0,7,1", [0], "7"),
        (f"GPU-zzzz,{A}", [], "GPU-zzzz"),
        (f"MIG-{C}/1/0", [], f"MIG-{C}/1/0"),
    ],
)
def test_an_outer_mask_is_held_against_what_is_there(
    place: Place, caplog: pytest.LogCaptureFixture, visible: str, ids: list[int | str], missing: str | None
) -> None:
    place([Gpu(A), Gpu(B, 90)], visible=visible)
    with caplog.at_level(logging.WARNING):
        assert Resources().get("gpu") == ids
    assert (f"{missing} is not on this host" in caplog.text) == (missing is not None)


class Nothing(Stage):
    """Does nothing."""

    def process(self, task: Task) -> Task:
        return task


class Scans(System):
    """A system whose resources are looked at."""

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Nothing(resources)]


def test_resource_scan_args(place: Place) -> None:
    place([Gpu(A, 50), Gpu(B, 0, 0.4)])
    assert Scans().resources.get("gpu") == []
    assert Scans(resource_scan_args={"gpu_load": 0.5}).resources.get("gpu") == [0]
    assert Scans(resource_scan_args={"gpu_load": 1, "gpu_memory": 0.4}).resources.get("gpu") == [0, 1]
    with pytest.raises(UsageError, match=r"resource_scan_args: 'gpu_laod' .* did you mean 'gpu_load'\?"):
        Scans(resource_scan_args={"gpu_laod": 1})
    with pytest.raises(UsageError, match="gpu_memory is to be a number from 0 to 1, not 40"):
        Scans(resource_scan_args={"gpu_memory": 40})


@pytest.mark.parametrize("name", [0, 11, "2", A, "MIG-1"])
def test_names_of_devices(name: object) -> None:
    assert is_device(name)


@pytest.mark.parametrize("name", [-1, True, 1.0, None, "", "cuda:0", "-1", "GPU-a,GPU-b", "²"])
def test_what_names_no_device(name: object) -> None:
    assert not is_device(name)


def test_what_is_used_of_each_gpu(place: Place) -> None:
    lost, quiet = Gpu("GPU-b", lost=True), Gpu("GPU-c", load=None)
    module = place([Gpu("GPU-a", load=45, memory=0.25), lost, quiet])
    with gpu_uses() as look:
        assert look is not None
        first = GpuUse(0, "GPU-a", "NVIDIA Test 80GB", 45, 250, 1000)
        assert look() == [first, GpuUse(2, "GPU-c", "NVIDIA Test 80GB", None, 0, 1000)]

        def gone(gpu: Gpu) -> str:
            if gpu is quiet:
                raise module.NVMLError("GPU is lost")
            return gpu.name

        module.nvmlDeviceGetName = gone
        assert look() == [first], "an error of one GPU hides it alone"
    assert module.shutdowns == 1


def test_nothing_is_seen_without_library_driver_or_gpu(place: Place) -> None:
    for gpus, driver in ((None, True), ([Gpu("GPU-a")], False), ([], True)):
        place(gpus, driver=driver)
        with gpu_uses() as look:
            assert look is None


def test_the_real_library_without_a_driver_shows_nothing() -> None:
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install 'zturbo[gpu]'")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        with gpu_uses() as look:
            assert look is None, error
    else:
        nvml.nvmlShutdown()
        with gpu_uses() as look:
            assert look is None or look()
