"""What a worker's process inherits: its environment and its CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zturbo import Resources, Stage
from zturbo.deploy.shipped import shipped_workers
from zturbo.hardware.binding import THREADS, bound_environment, cpus_to_bind, on_cpus
from zturbo.hardware.cpus import Cpus

HERE = {"PATH": "/bin"}


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with eight CPUs."""
    monkeypatch.setattr("zturbo.hardware.binding.usable_cpus", lambda: Cpus(list(range(8)), False))


@pytest.mark.parametrize("given", [None, {}, {"cpu": []}, {"tpu": [1]}])
def test_nothing_was_given(given: Any) -> None:
    assert bound_environment(given, HERE) == HERE and cpus_to_bind(given) == set()


@pytest.mark.parametrize(
    "gpus, env, mask, order",
    [
        ([2], {}, "2", "PCI_BUS_ID"),
        (["1", 0], {}, "1,0", "PCI_BUS_ID"),
        ([2], {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, "2", "FASTEST_FIRST"),
        ([2], {"CUDA_VISIBLE_DEVICES": "2,3"}, "2", None),  # its indices are in the user's order
        (["GPU-a", "MIG-b"], {}, "GPU-a,MIG-b", None),
        ([], {}, "", None),
        ([], {"CUDA_VISIBLE_DEVICES": "2,3"}, "", None),
        (None, {"CUDA_VISIBLE_DEVICES": "2,3"}, None, None),
        (None, {}, None, None),
    ],
)
def test_which_gpus_it_sees(gpus: Any, env: dict[str, str], mask: str | None, order: str | None) -> None:
    found = bound_environment({"gpu": gpus}, env)
    assert found.get("CUDA_VISIBLE_DEVICES") == mask and found.get("CUDA_DEVICE_ORDER") == order


def test_gpus_by_names_that_cuda_does_not_know(caplog: pytest.LogCaptureFixture) -> None:
    assert bound_environment({"gpu": ["cuda:1"]}, HERE) == HERE
    assert "['cuda:1']: CUDA has no such device; the worker is shown all GPUs" in caplog.text


def test_how_many_threads() -> None:
    assert bound_environment({"cpu": [4, 5]}, HERE) == {**HERE, **dict.fromkeys(THREADS, "2")}
    many = bound_environment({"cpu": list(range(100))}, HERE)
    assert many["OMP_NUM_THREADS"] == "8"


def test_the_users_own_settings_win() -> None:
    found = bound_environment({"cpu": [4, 5]}, {"MKL_NUM_THREADS": "7"})
    assert found == {**dict.fromkeys(THREADS, "2"), "MKL_NUM_THREADS": "7"}
    found = bound_environment({"cpu": [4, 5]}, {"OMP_NUM_THREADS": "7"})  # OpenBLAS and others go by it
    assert found == {
        "OMP_NUM_THREADS": "7",
        "VECLIB_MAXIMUM_THREADS": "2",
        "NUMBA_NUM_THREADS": "2",
        "OPENCV_FOR_THREADS_NUM": "2",
    }


def test_which_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpus_to_bind({"cpu": [4, 5, 90]}) == {4, 5}
    assert cpus_to_bind({"cpu": ["a", 90]}) == set()
    monkeypatch.setattr("zturbo.hardware.binding.usable_cpus", lambda: Cpus([0, 1], True))
    assert cpus_to_bind({"cpu": [0]}) == set()
    assert bound_environment({"cpu": [0]}, HERE)["OMP_NUM_THREADS"] == "1"


def test_a_child_starts_on_them() -> None:
    mine = os.sched_getaffinity(0)
    last = max(mine)
    with on_cpus({last}):
        code = "import os; print(os.sched_getaffinity(0))"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == f"{{{last}}}\n" and os.sched_getaffinity(0) == mine


def test_cpus_that_are_not_there(caplog: pytest.LogCaptureFixture) -> None:
    mine = os.sched_getaffinity(0)
    with on_cpus({1000}):
        assert os.sched_getaffinity(0) == mine
    assert os.sched_getaffinity(0) == mine and "CPUs [1000] cannot be bound to" in caplog.text


class Any3(Stage):
    """Three workers: with indices that a script has computed, with things of its own, with nothing."""

    def allocate_resource(self, resources: Resources, **custom: Any) -> list[Resources]:
        return [
            Resources({"cpu": list(np.arange(2)), "gpu": [np.int64(3), Path("MIG-x")]}),
            Resources({"gpu": []}),
        ]


def test_what_a_child_of_system_is_told() -> None:
    stage = Any3(Resources({}))
    stage.num_worker = 3
    told = [spec["resources"] for spec in shipped_workers("p", ["s"], 0, stage, None)]
    assert told == [{"cpu": [0, 1], "gpu": [3, "MIG-x"]}, {}, {}]
    assert {type(item) for items in told[0].values() for item in items} == {int, str}
