"""What Prometheus reads of hosts with GPUs."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.telemetry.reports import member, telemetry
from zturbo.telemetry.totals import Totals

pytest.importorskip("prometheus_client", reason="the extra dashboard is not installed")

from zturbo.dashboard.metrics import exposition


def read(gpus: dict[str, Any]) -> list[str]:
    told = {**telemetry(member(0)), "gpus": gpus}
    watcher: Any = SimpleNamespace(
        error="", lock=threading.Lock(), totals=Totals(), telemetry=told, jobs={}, described={}
    )
    return exposition(watcher)[0].decode().splitlines()


def test_each_gpu_has_its_load_and_memory() -> None:
    one = {"index": 0, "uuid": "GPU-a", "name": "A", "load": 45, "used": 250, "total": 1000}
    unknown = {**one, "index": 1, "load": None, "used": 0, "total": 0}
    lines = [line for line in read({"h": [one, unknown]}) if line.startswith("zturbo_gpu")]
    assert lines == [
        'zturbo_gpu_utilization_ratio{gpu="0",host="h"} 0.45',
        'zturbo_gpu_memory_used_bytes{gpu="0",host="h"} 250.0',
        'zturbo_gpu_memory_total_bytes{gpu="0",host="h"} 1000.0',
    ]


def test_without_gpus_there_is_no_metric_of_them() -> None:
    assert not [line for line in read({}) if "gpu" in line]
