"""CPUs and GPUs of this host, and ways to share them out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from zturbo.errors import UsageError

__all__ = ["Resources"]

_Bounds = Sequence[int | float | None]


class Resources:
    """Named lists of things that workers may use, such as ``cpu`` and ``gpu`` indices.

    Args:
        resources: name -> list; None scans this host.
        gpu_load: a GPU with a higher load (0 to 1) is not taken by the scan.
        gpu_memory: a GPU with a larger part of its memory in use is not taken by the scan.
    """

    def __init__(
        self,
        resources: Mapping[str, Sequence[Any]] | None = None,
        gpu_load: float = 0.1,
        gpu_memory: float = 0.1,
    ) -> None:
        if resources is None:
            self.resources = self.scan(gpu_load, gpu_memory)
        else:
            self.resources = {name: list(items) for name, items in resources.items()}

    @staticmethod
    def scan(gpu_load: float = 0.1, gpu_memory: float = 0.1) -> dict[str, list[Any]]:
        """CPUs of the affinity mask, and idle GPUs where ``nvidia-ml-py`` finds some."""
        found: dict[str, list[Any]] = {"cpu": sorted(os.sched_getaffinity(0))}
        gpus = _scan_gpus(gpu_load, gpu_memory)
        if gpus:
            found["gpu"] = gpus
        return found

    def get(self, name: str, limit: int | None = None) -> list[Any]:
        """Things of this name, at most ``limit`` of them."""
        return self.resources.get(name, [])[:limit]

    def split(self, n: int) -> list[Resources]:
        """n equal parts; what does not divide is left out."""
        if n < 1:
            raise UsageError(f"resources cannot be split into {n} parts")
        parts = []
        for i in range(n):
            part = {}
            for name, items in self.resources.items():
                size = len(items) // n
                part[name] = items[i * size : (i + 1) * size]
            parts.append(Resources(part))
        return parts

    def select(self, **select: bool | _Bounds | None) -> Resources:
        """Parts of it by name: True for all, False or None for nothing, (start, end) for a slice.

        Bounds are ints, or fractions of the length where one of them is a float; None is open.
        """
        chosen: dict[str, list[Any]] = {}
        for name, want in select.items():
            items = self.resources.get(name)
            if items is None or want is False or want is None:
                continue
            if want is True:
                chosen[name] = list(items)
                continue
            start, end = want
            if isinstance(start, float) or isinstance(end, float):
                start = None if start is None else round(start * len(items))
                end = None if end is None else round(end * len(items))
            chosen[name] = items[start:end]
        return Resources(chosen)

    def __add__(self, other: Resources) -> Resources:
        names = [*self.resources, *(name for name in other.resources if name not in self.resources)]
        return Resources({name: self.get(name) + other.get(name) for name in names})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self.resources == other.resources

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Resources({', '.join(f'{name}={items}' for name, items in self.resources.items())})"


def _scan_gpus(max_load: float, max_memory: float) -> list[Any]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(word) if word.strip().isdigit() else word.strip() for word in visible.split(",") if word]
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        load = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        if load <= max_load and memory.used / memory.total <= max_memory:
            found.append(index)
    return found
