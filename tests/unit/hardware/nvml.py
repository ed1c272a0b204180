"""A double of ``pynvml``, nvidia-ml-py's module: there is no GPU where these tests have to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

__all__ = ["Gpu", "fake_nvml"]


@dataclass
class Gpu:
    """One that the double shows."""

    uuid: str
    load: int | None = 0
    """Per cent; None where the driver does not tell."""
    memory: float = 0.0
    mig: list[Gpu | None] | None = None
    """MIG devices by place, where it is in MIG mode."""
    lost: bool = False
    name: str = "NVIDIA Test 80GB"
    knows_mig: bool = field(default=True)


def fake_nvml(gpus: list[Gpu], *, driver: bool = True) -> Any:
    """The module, on a host with these GPUs. ``shutdowns`` counts how often it was let go."""

    class NVMLError(Exception):
        pass

    module: Any = ModuleType("pynvml")
    module.__spec__ = ModuleSpec("pynvml", None)
    module.NVMLError = NVMLError
    module.shutdowns = 0

    def nvml_init() -> None:
        if not driver:
            raise NVMLError("Driver Not Loaded")

    def shutdown() -> None:
        module.shutdowns += 1

    def handle(index: int) -> Gpu:
        if gpus[index].lost:
            raise NVMLError("GPU is lost")
        return gpus[index]

    def mig_mode(gpu: Gpu) -> tuple[int, int]:
        if not gpu.knows_mig:
            raise NVMLError("Not Supported")
        return int(gpu.mig is not None), 0

    def mig_device(gpu: Gpu, index: int) -> Gpu:
        assert gpu.mig is not None
        if (part := gpu.mig[index]) is None:
            raise NVMLError("Not Found")
        return part

    def rates(gpu: Gpu) -> Any:
        if gpu.load is None:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=gpu.load)

    module.nvmlInit = nvml_init
    module.nvmlShutdown = shutdown
    module.nvmlDeviceGetCount = lambda: len(gpus)
    module.nvmlDeviceGetHandleByIndex = handle
    module.nvmlDeviceGetName = lambda gpu: gpu.name
    module.nvmlDeviceGetUUID = lambda gpu: gpu.uuid
    module.nvmlDeviceGetMigMode = mig_mode
    module.nvmlDeviceGetMaxMigDeviceCount = lambda gpu: len(gpu.mig)
    module.nvmlDeviceGetMigDeviceHandleByIndex = mig_device
    module.nvmlDeviceGetUtilizationRates = rates
    module.nvmlDeviceGetMemoryInfo = lambda gpu: SimpleNamespace(used=gpu.memory * 1000, total=1000)
    return module
