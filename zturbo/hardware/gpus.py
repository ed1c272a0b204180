"""The GPUs that this process may use: those in ``CUDA_VISIBLE_DEVICES``, or else this host's idle GPUs.

``nvidia-ml-py`` (the extra ``gpu``) looks them up. Without it, or without a driver, only the GPUs in the
variable are known.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["VISIBLE", "GpuUse", "Gpus", "gpu_uses", "is_device", "usable_gpus"]

log = logging.getLogger("zturbo.resources")

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpus(NamedTuple):
    """GPUs that this process may use."""

    ids: list[int | str]
    """Names in the form of ``CUDA_VISIBLE_DEVICES``: indices, or UUIDs of GPUs or of MIG devices."""
    busy: list[str]
    """GPUs that are left out because other programs use them, each with its load; for people."""
    reason: str
    """Why ``ids`` is empty, or which variable it is from; for people."""


def usable_gpus(max_load: float, max_memory: float, env: Mapping[str, str] | None = None) -> Gpus:
    """The GPUs that this process may use.

    The GPUs in ``CUDA_VISIBLE_DEVICES`` are taken whether idle or not. If it is not set, all idle GPUs are
    taken. For a GPU in MIG mode, its MIG devices are taken.

    Args:
        max_load: a GPU with a higher load (0 to 1) is not idle.
        max_memory: a GPU with a larger part of its memory in use (0 to 1) is not idle.
        env: the environment; None for this process's.
    """
    visible = (os.environ if env is None else env).get(VISIBLE)
    with _nvml() as (nvml, problem):
        whole = [] if nvml is None else list(_gpus(nvml))
        if visible is not None:
            known = None if nvml is None else [_names(nvml, *gpu) for gpu in whole]
            return Gpus(_named(visible, known), [], f"{VISIBLE} is {visible!r}")
        found = Gpus([], [], problem or "there is none")
        for name, handle in [device for gpu in whole for device in _usable(nvml, *gpu)]:
            load, memory = _use(nvml, handle)
            if load <= max_load and memory <= max_memory:
                found.ids.append(name)
            else:
                found.busy.append(f"{name} (load {load:.0%}, memory {memory:.0%} in use)")
        if found.busy and not found.ids:
            return found._replace(reason="all are busy")
        return found


class GpuUse(NamedTuple):
    """How much of a GPU is used now, by whatever process, as NVML tells."""

    number: int
    """As ``nvidia-smi`` shows it."""
    uuid: str
    name: str
    load: int | None
    """Percent of the time lately; None if the driver does not say, as for a GPU in MIG mode."""
    used: int
    """Bytes of memory; 0 if the driver does not say."""
    total: int
    """Bytes of memory; 0 if the driver does not say."""


@contextmanager
def gpu_uses() -> Iterator[Callable[[], list[GpuUse]] | None]:
    """For a ``with`` statement: a function that looks at this host's GPUs; None if there is nothing to see.

    A GPU that the driver gives an error for is left out of that look.
    """
    with _nvml() as (nvml, problem):
        gpus = [] if nvml is None else list(_gpus(nvml))
        if not gpus:
            log.debug("no GPUs are shown: %s", problem or "there is none")
        yield (lambda: _uses(nvml, gpus)) if gpus else None


def _uses(nvml: Any, gpus: list[tuple[int, str, Any]]) -> list[GpuUse]:
    found = []
    for index, uuid, handle in gpus:
        try:
            name = _text(nvml.nvmlDeviceGetName(handle))
        except nvml.NVMLError as error:
            log.debug("GPU %d is left out: %s", index, error)
            continue
        try:
            load = int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        except nvml.NVMLError:
            load = None
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            used, total = int(memory.used), int(memory.total)
        except nvml.NVMLError:
            used = total = 0
        found.append(GpuUse(index, uuid, name, load, used, total))
    return found


def is_device(name: object) -> bool:
    """Whether this can be a device's name in ``CUDA_VISIBLE_DEVICES``."""
    if isinstance(name, str):
        return name.isdecimal() or (name[:4] in ("GPU-", "MIG-") and "," not in name)
    return isinstance(name, int) and not isinstance(name, bool) and name >= 0


def _named(visible: str, known: list[list[int | str]] | None) -> list[int | str]:
    """The devices in the variable. As in CUDA, a name that is not a device, such as ``-1``, ends the list.

    Args:
        visible: the variable's value.
        known: all names of each GPU of this host; None if they are not known.
    """
    ids: list[int | str] = []
    words = [word.strip() for word in visible.split(",")]
    for word in words:
        if not is_device(word):
            break
        name = int(word) if word.isdecimal() else word
        if known is not None and not any(_is_one(name, names) for names in known):
            log.warning(
                "%s is %r; %s is not on this host, and CUDA takes what is before it", VISIBLE, visible, word
            )
            break
        if name not in ids:
            ids.append(name)
    return ids


def _is_one(name: int | str, names: list[int | str]) -> bool:
    """Whether a name is among these names; as in CUDA, the beginning of a UUID is enough."""
    if isinstance(name, int):
        return name in names
    uuid = name.removeprefix("MIG-").partition("/")[0] if name.startswith("MIG-GPU-") else name
    return any(isinstance(known, str) and known.startswith(uuid) for known in names)


@contextmanager
def _nvml() -> Iterator[tuple[Any, str]]:
    """The library, ready for use, and an empty text; or None and the reason why it is not ready."""
    try:
        import pynvml
    except ImportError:
        yield None, "nvidia-ml-py is not installed (pip install 'zturbo[gpu]')"
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield None, f"the NVIDIA driver does not answer: {error}"
        return
    try:
        yield pynvml, ""
    finally:
        pynvml.nvmlShutdown()


def _gpus(nvml: Any) -> Iterator[tuple[int, str, Any]]:
    """(index, UUID, handle) of each GPU."""
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        log.warning("GPUs are left out: %s", error)
        return
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            yield index, _text(nvml.nvmlDeviceGetUUID(handle)), handle
        except nvml.NVMLError as error:  # a broken GPU must not hide the others
            log.warning("GPU %d is left out: %s", index, error)


def _names(nvml: Any, index: int, uuid: str, handle: Any) -> list[int | str]:
    return [index, uuid, *(name for name, _ in _parts(nvml, handle) or ())]


def _usable(nvml: Any, index: int, uuid: str, handle: Any) -> list[tuple[int | str, Any]]:
    """(name, handle) of each device of a GPU that a process can be given: the GPU, or its MIG devices."""
    parts = _parts(nvml, handle)
    return [(index, handle)] if parts is None else [(name, part) for name, part in parts]


def _parts(nvml: Any, handle: Any) -> list[tuple[str, Any]] | None:
    """(UUID, handle) of a GPU's MIG devices; None if it is not in MIG mode."""
    try:
        on, _ = nvml.nvmlDeviceGetMigMode(handle)
        if not on:
            return None
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:  # this GPU has no MIG mode
        return None
    out = []
    for index in range(count):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            out.append((_text(nvml.nvmlDeviceGetUUID(part)), part))
        except nvml.NVMLError:  # no MIG device was made under this index
            continue
    return out


def _use(nvml: Any, handle: Any) -> tuple[float, float]:
    """Load, and part of the memory in use, both 0 to 1; 0 if the driver does not say, as for MIG devices."""
    try:
        load = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    except nvml.NVMLError:
        load = 0.0
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:
        return load, 0.0
    return load, memory.used / memory.total


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
