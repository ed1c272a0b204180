"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import time
from array import array
from typing import Any

import psutil

__all__ = ["described", "machine"]


def machine() -> dict[str, Any]:
    """The machine and its software."""
    model = "?"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
                break
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "model": model,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "linux": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "memory_ns": round(_load_time(22) - _load_time(10)),
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def described(facts: dict[str, Any]) -> str:
    """The same as a line."""
    return (
        f"{facts['cpus']} CPUs ({facts['model']}), {facts['memory_gb']} GB, Linux {facts['linux']}, "
        f"Python {facts['python']}, some {facts['memory_ns']} ns for a load that no cache has, "
        f"load {facts['load']} before the run"
    )


def _load_time(bits: int) -> float:
    """Nanoseconds of a step from each of 2**bits numbers to the next one, in an order that nothing foresees.

    The order is that of a linear congruential generator with a full period (Hull and Dobell, Random Number
    Generators, 1962). The shortest of some walks counts.
    """
    size, steps, at = 1 << bits, 20_000, 0
    following = array("q", ((number * 1664525 + 1013904223) % size for number in range(size)))
    took = []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(steps):
            at = following[at]
        took.append((time.perf_counter() - began) / steps * 1e9)
    return min(took)
