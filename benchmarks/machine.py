"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import time
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
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def described(facts: dict[str, Any]) -> str:
    """The same as a line."""
    return (
        f"{facts['cpus']} CPUs ({facts['model']}), {facts['memory_gb']} GB, Linux {facts['linux']}, "
        f"Python {facts['python']}, load {facts['load']} before the run"
    )
