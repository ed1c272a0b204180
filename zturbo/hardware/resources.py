"""CPUs and GPUs of this host, and ways to divide them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zturbo.checks import check_count, check_type, wrong
from zturbo.errors import UsageError
from zturbo.hardware.cpus import usable_cpus
from zturbo.hardware.gpus import usable_gpus

__all__ = ["Resources"]

_Bounds = Sequence[int | float | None]


class Resources:
    """Named lists of items that workers may use, such as the indices of CPUs (``cpu``) and GPUs (``gpu``).

    Args:
        resources: name -> list; None scans this host.
        gpu_load: the scan leaves out GPUs with a higher load (0 to 1).
        gpu_memory: the scan leaves out GPUs with a larger part of their memory in use (0 to 1).

    Raises:
        UsageError: an argument has a wrong type or is out of range.
    """

    def __init__(
        self,
        resources: Mapping[str, Sequence[Any]] | None = None,
        gpu_load: float = 0.1,
        gpu_memory: float = 0.1,
    ) -> None:
        _check_part("gpu_load", gpu_load)
        _check_part("gpu_memory", gpu_memory)
        if resources is None:
            self.resources = self.scan(gpu_load, gpu_memory)
        else:
            check_type("Resources: resources", resources, Mapping, "a dict of name -> list")
            for name, items in resources.items():
                if isinstance(items, str) or not isinstance(items, Sequence):
                    raise wrong(f"Resources: {name!r}", items, "a list")
            self.resources = {name: list(items) for name, items in resources.items()}

    @staticmethod
    def scan(gpu_load: float = 0.1, gpu_memory: float = 0.1) -> dict[str, list[Any]]:
        """The CPUs that affinity mask and cgroups allow, and the GPUs in ``CUDA_VISIBLE_DEVICES``.

        If that variable is not set, the idle GPUs that ``nvidia-ml-py`` finds. If there is none, the result
        has no ``gpu``.

        Args:
            gpu_load: see the class.
            gpu_memory: see the class.

        Returns:
            ``cpu`` and ``gpu`` -> indices or UUIDs.
        """
        found: dict[str, list[Any]] = {"cpu": usable_cpus().ids}
        gpus = usable_gpus(gpu_load, gpu_memory).ids
        if gpus:
            found["gpu"] = gpus
        return found

    def get(self, name: str, limit: int | None = None) -> list[Any]:
        """The items of a name, at most ``limit`` of them; none if there is no such name."""
        if limit is not None:
            limit = check_count("Resources.get: limit", limit, 0)
        return self.resources.get(name, [])[:limit]

    def split(self, n: int) -> list[Resources]:
        """Divide each list into n equal parts; the remainder of the division is left out.

        Empty resources may be divided into 0 parts, as in pyturbo. So
        ``resources.select(gpu=True).split(len(gpus))`` also runs on a host without GPUs.

        Raises:
            UsageError: ``n`` is not an int of 1 or more, or of 0 or more if all lists are empty.
        """
        n = check_count("Resources.split: n", n, 0 if not any(self.resources.values()) else 1)
        parts = []
        for i in range(n):
            part = {}
            for name, items in self.resources.items():
                size = len(items) // n
                part[name] = items[i * size : (i + 1) * size]
            parts.append(Resources(part))
        return parts

    def select(self, **select: bool | _Bounds | None) -> Resources:
        """Choose items by name.

        Args:
            select: for each name, True for all items, False or None for none, or (start, end) for a slice. If
                one of the two is a float, both are fractions of the list's length. None is an open end.

        Raises:
            UsageError: a value is neither of these.
        """
        chosen: dict[str, list[Any]] = {}
        for name, want in select.items():
            items = self.resources.get(name)
            start, end = _bounds(name, want)
            if items is None or want is False or want is None:
                continue
            if isinstance(start, float) or isinstance(end, float):
                start = None if start is None else round(start * len(items))
                end = None if end is None else round(end * len(items))
            chosen[name] = items[start:end]
        return Resources(chosen)

    def __add__(self, other: Resources) -> Resources:
        if not isinstance(other, Resources):
            raise UsageError(f"Resources + {other!r:.80}: the right side is to be Resources too")
        names = [*self.resources, *(name for name in other.resources if name not in self.resources)]
        return Resources({name: self.get(name) + other.get(name) for name in names})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self.resources == other.resources

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Resources({', '.join(f'{name}={items}' for name, items in self.resources.items())})"


def _check_part(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise wrong(f"Resources: {name}", value, "a number from 0 to 1")


def _bounds(name: str, want: Any) -> tuple[int | float | None, int | float | None]:
    """Start and end of a slice; open ends for all."""
    if want is None or isinstance(want, bool):
        return None, None
    if isinstance(want, (tuple, list)) and len(want) == 2:
        start, end = want
        if all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in want):
            return start, end
    raise wrong(f"Resources.select: {name!r}", want, "True, False, None or (start, end) of numbers or None")
