"""How a node binds a worker's process to its resources, before the process runs its first line of Python.

The process inherits the CPU affinity of the thread that starts it. Its environment tells CUDA which GPUs to
show, and numerical libraries how many threads to make. So the binding holds when the user's code is imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from zturbo.errortext import message_of
from zturbo.hardware.cpus import usable_cpus
from zturbo.hardware.gpus import VISIBLE, is_device

__all__ = ["THREADS", "bound_environment", "cpus_to_bind", "on_cpus", "ordinal_hint"]

log = logging.getLogger("zturbo.resources")

_HEED_OMP = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Variables of libraries that read ``OMP_NUM_THREADS`` if their own variable is not set."""

THREADS = (
    "OMP_NUM_THREADS",
    *_HEED_OMP,
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""Variables with the number of threads of OpenMP (and so of PyTorch), OpenBLAS, MKL, BLIS, NumExpr,
Accelerate, Numba and OpenCV."""

ORDER = "CUDA_DEVICE_ORDER"

Given = Mapping[str, Sequence[Any] | None]
"""``cpu`` or ``gpu`` -> the indices or UUIDs that a process was given. An empty list of GPUs shows it none.
None shows it all GPUs of the host, even if the command's own ``CUDA_VISIBLE_DEVICES`` does not."""


def bound_environment(given: Given | None, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process with these resources.

    If the user has set a number of threads, it stays. It also stays for libraries that read
    ``OMP_NUM_THREADS``, if the user has set that.

    Args:
        given: the process's resources; for a name that is missing, no variable is set.
        env: the environment that the process would have without them.
    """
    out = dict(env)
    if given is None:
        return out
    if "gpu" in given:
        gpus = given["gpu"]
        if gpus is None:
            out.pop(VISIBLE, None)
        elif all(map(is_device, gpus)):
            out[VISIBLE] = ",".join(map(str, gpus))
            if VISIBLE not in env and not all(str(gpu).startswith(("GPU-", "MIG-")) for gpu in gpus):
                out.setdefault(ORDER, "PCI_BUS_ID")  # the driver numbers GPUs so; CUDA by default does not
        else:
            log.warning("%s: CUDA has no such device; the worker is shown all GPUs", list(gpus))
    if cpus := given.get("cpu"):
        threads = str(min(len(cpus), len(usable_cpus().ids)))
        for name in THREADS:
            if name not in _HEED_OMP or "OMP_NUM_THREADS" not in env:
                out.setdefault(name, threads)
    return out


def cpus_to_bind(given: Given | None) -> set[int]:
    """The CPUs that a process with these resources is to run on; empty for all.

    It is also empty if a quota limits this process, and not its mask: then the CPUs' numbers mean nothing.
    """
    cpus = (given or {}).get("cpu")
    if not cpus:
        return set()
    usable = usable_cpus()
    return set() if usable.by_quota else {cpu for cpu in usable.ids if cpu in cpus}


@contextmanager
def on_cpus(cpus: set[int]) -> Iterator[None]:
    """Within the context, processes that this thread starts run on these CPUs; empty for all of its own."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:  # a CPU was just taken from this host, or from this cgroup
        log.warning("CPUs %s cannot be bound to: %s", sorted(cpus), error)
        yield
        return
    try:
        yield
    finally:
        try:
            os.sched_setaffinity(0, before)
        except OSError as error:  # all of these CPUs were taken away meanwhile
            log.warning("CPUs %s cannot be gone back to: %s", sorted(before), error)


def ordinal_hint(error: BaseException, given: Given | None) -> str:
    """A hint for code that asked CUDA for a GPU by its index on the host; empty for other errors."""
    if not (given or {}).get("gpu") or "invalid device ordinal" not in message_of(error):
        return ""
    return (
        f" ({VISIBLE} is {os.environ.get(VISIBLE)!r} here, and CUDA counts from 0 what that names: use "
        "cuda:0, whatever the index in resources is; or set the option no_binding)"
    )
