"""Which GPUs this process may use: those that ``CUDA_VISIBLE_DEVICES`` names, else this host's idle ones.

They are looked up with ``nvidia-ml-py`` (the extra ``gpu``). Without it, or without a driver, only what the
variable names is known.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["VISIBLE", "Gpus", "is_device", "usable_gpus"]

log = logging.getLogger("zturbo.resources")

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpus(NamedTuple):
    """GPUs that this process may use."""

    ids: list[int | str]
    """As ``CUDA_VISIBLE_DEVICES`` names them: indices, or UUIDs of GPUs or of MIG devices."""
    busy: list[str]
    """Those that are left out because somebody works on them, with how much; for people."""
    reason: str
    """Why there are none, or where they are from; for people."""


def usable_gpus(max_load: float, max_memory: float, env: Mapping[str, str] | None = None) -> Gpus:
    """What there is.

    GPUs that ``CUDA_VISIBLE_DEVICES`` names are taken as they are. Where it is not set, all idle ones are; a
    GPU in MIG mode counts as its MIG devices.

    Args:
        max_load: load (0 to 1) above which a GPU is not idle.
        max_memory: part of its memory in use (0 to 1) above which it is not.
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


def is_device(name: object) -> bool:
    """Whether ``CUDA_VISIBLE_DEVICES`` can name a device so."""
    if isinstance(name, str):
        return name.isdecimal() or (name[:4] in ("GPU-", "MIG-") and "," not in name)
    return isinstance(name, int) and not isinstance(name, bool) and name >= 0


def _named(visible: str, known: list[list[int | str]] | None) -> list[int | str]:
    """What the variable names, as CUDA reads it: up to the first that is no device, ``-1`` for instance.

    Args:
        visible: its value.
        known: all names of each GPU of this host; None where they are not known.
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
    """Whether this is one of these names; the beginning of a UUID will do, as in CUDA."""
    if isinstance(name, int):
        return name in names
    uuid = name.removeprefix("MIG-").partition("/")[0] if name.startswith("MIG-GPU-") else name
    return any(isinstance(known, str) and known.startswith(uuid) for known in names)


@contextmanager
def _nvml() -> Iterator[tuple[Any, str]]:
    """The library, ready for use; or None, and why it is not."""
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
        except nvml.NVMLError as error:  # one that is lost does not hide the others
            log.warning("GPU %d is left out: %s", index, error)


def _names(nvml: Any, index: int, uuid: str, handle: Any) -> list[int | str]:
    return [index, uuid, *(name for name, _ in _parts(nvml, handle) or ())]


def _usable(nvml: Any, index: int, uuid: str, handle: Any) -> list[tuple[int | str, Any]]:
    """(name, handle) of what a process may be given of a GPU: itself, or in MIG mode its MIG devices."""
    parts = _parts(nvml, handle)
    return [(index, handle)] if parts is None else [(name, part) for name, part in parts]


def _parts(nvml: Any, handle: Any) -> list[tuple[str, Any]] | None:
    """(UUID, handle) of a GPU's MIG devices; None where it is not in MIG mode."""
    try:
        on, _ = nvml.nvmlDeviceGetMigMode(handle)
        if not on:
            return None
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:  # it knows no MIG
        return None
    out = []
    for index in range(count):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            out.append((_text(nvml.nvmlDeviceGetUUID(part)), part))
        except nvml.NVMLError:  # a place where none was made
            continue
    return out


def _use(nvml: Any, handle: Any) -> tuple[float, float]:
    """Load and part of the memory in use; 0 where the driver does not tell, as for MIG devices."""
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
