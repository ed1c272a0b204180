"""How a worker's process is bound to its resources, by its node, before its first line of Python runs.

It inherits the CPU affinity of the thread that starts it. Its environment says which GPUs CUDA shows it, and
how many threads the libraries of the field make. So all of it holds when the user's code is imported.
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
"""Of libraries that go by ``OMP_NUM_THREADS`` where their own is not set."""

THREADS = (
    "OMP_NUM_THREADS",
    *_HEED_OMP,
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""How many threads these make: OpenMP (and with it PyTorch), OpenBLAS, MKL, BLIS, NumExpr, Accelerate, Numba,
OpenCV."""

ORDER = "CUDA_DEVICE_ORDER"

Given = Mapping[str, Sequence[Any] | None]
"""name -> what a process was given of it. ``gpu``: an empty list shows it no GPU; None all of the host's, by
their own indices, even if an outer ``CUDA_VISIBLE_DEVICES`` does not."""


def bound_environment(given: Given | None, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process with these resources.

    A number of threads that the user has set stays, and so do those of libraries that go by it.

    Args:
        given: its resources; of what is not there, nothing is set.
        env: what its environment would be.
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
                out.setdefault(ORDER, "PCI_BUS_ID")  # that of the driver's indices; CUDA's own is another
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

    All, where a quota and no mask limits this process: the numbers mean nothing then.
    """
    cpus = (given or {}).get("cpu")
    if not cpus:
        return set()
    usable = usable_cpus()
    return set() if usable.by_quota else {cpu for cpu in usable.ids if cpu in cpus}


@contextmanager
def on_cpus(cpus: set[int]) -> Iterator[None]:
    """Processes that this thread starts meanwhile run on these CPUs; empty for all that this one has."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:  # one was just taken from this host, or from this group
        log.warning("CPUs %s cannot be bound to: %s", sorted(cpus), error)
        yield
        return
    try:
        yield
    finally:
        try:
            os.sched_setaffinity(0, before)
        except OSError as error:  # all of them were taken meanwhile
            log.warning("CPUs %s cannot be gone back to: %s", sorted(before), error)


def ordinal_hint(error: BaseException, given: Given | None) -> str:
    """What helps code that asks CUDA for a GPU by its index on the host; empty for other errors."""
    if not (given or {}).get("gpu") or "invalid device ordinal" not in message_of(error):
        return ""
    return (
        f" ({VISIBLE} is {os.environ.get(VISIBLE)!r} here, and CUDA counts from 0 what that names: use "
        "cuda:0, whatever the index in resources is; or set the option no_binding)"
    )
