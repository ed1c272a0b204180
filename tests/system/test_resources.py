"""Workers as real processes, bound to what they are given: by a network file, under System, after a death."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stages.bound import Spread
from tests.support.cluster import Cluster, eventually, stage
from zturbo import Job, Options, Task
from zturbo.hardware.binding import THREADS
from zturbo.hardware.cpus import usable_cpus

ROOT = Path(__file__).parents[2]
CPUS = usable_cpus()
BOUND = "tests.stages.bound:Bound"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing of threads; GPUs are what a mask names, since none is here."""
    for name in (*THREADS, "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,7")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(Options, "no_progress_bar", True)


def read(folder: Path, name: str) -> dict[str, Any]:
    """A worker's report, once it is there."""
    file = folder / f"{name}.json"
    eventually(file.exists)
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def cpu(number: int) -> int:
    """The CPU that is the next one's, after this number of CPUs was given out."""
    return CPUS.ids[number % len(CPUS.ids)]


def runs_on(*cpus: int) -> list[int]:
    """Where a process that is given these CPUs runs."""
    return sorted(os.sched_getaffinity(0)) if CPUS.by_quota else sorted(set(cpus))


def table(folder: Path, name: str, workers: int, **resources: Any) -> dict[str, Any]:
    """A stage that reports."""
    return {**stage(name, BOUND, workers, folder=str(folder), label=name), "resources": resources}


def test_in_a_network_file(tmp_path: Path) -> None:
    whole = sorted(os.sched_getaffinity(0))
    stages = [
        table(tmp_path, "both", 2, cpu=1, gpu=1),
        table(tmp_path, "free", 1),
        table(tmp_path, "none", 1, gpu=0),
    ]
    with Cluster({"p": stages}, durability="process") as cluster:
        with cluster.client() as client:
            last = client.submit(Task("x"), pipeline="p").result(timeout=30)[0]
        for worker, gpu in ((0, "GPU-aaaa"), (1, 7)):
            report = read(tmp_path, f"both-{worker}")
            assert report["env"] == {"CUDA_VISIBLE_DEVICES": str(gpu), **dict.fromkeys(THREADS, "1")}
            assert report["cpus"] == report["threads"] == runs_on(cpu(worker))
            assert report["got"] == report["current"] == {"cpu": [cpu(worker)], "gpu": [gpu]}
        free = read(tmp_path, "free-0")
        assert free["env"] == {"CUDA_VISIBLE_DEVICES": "GPU-aaaa,7"} and free["cpus"] == whole
        assert free["current"]["cpu"] == CPUS.ids
        assert last["env"] == {"CUDA_VISIBLE_DEVICES": ""} and last["cpus"] == whole
        assert last["got"] == {"cpu": CPUS.ids, "gpu": []}


def test_it_holds_after_a_death_and_users_settings_win(tmp_path: Path) -> None:
    stages = [table(tmp_path, "one", 1, cpu=1, gpu=1)]
    with Cluster({"p": stages}, durability="process", env={"OMP_NUM_THREADS": "5"}) as cluster:
        first = read(tmp_path, "one-0")
        assert first["env"]["OMP_NUM_THREADS"] == "5" and "MKL_NUM_THREADS" not in first["env"]
        assert first["env"]["NUMBA_NUM_THREADS"] == "1"
        assert cluster.kill("p.one") == first["pid"]
        eventually(lambda: read(tmp_path, "one-0")["pid"] != first["pid"])
        again = read(tmp_path, "one-0")
        assert {**again, "pid": 0} == {**first, "pid": 0}


def test_under_system(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [{"cpu": [cpu(0)], "gpu": [7]}, {"cpu": [cpu(1)], "gpu": ["GPU-aaaa"]}, {"cpu": [], "gpu": []}]
    with Spread(tmp_path, parts) as system:
        assert system.resources.resources == {"cpu": CPUS.ids, "gpu": ["GPU-aaaa", 7]}
        system.add_job(Job("x", Task("x")))
        report = system.wait_job(job_timeout=60).results[0]
        assert report == read(
            tmp_path, f"halves-{[part['gpu'] for part in parts].index(report['current']['gpu'])}"
        )
        for worker, part in enumerate(parts[:2]):
            report = read(tmp_path, f"halves-{worker}")
            mask = {"CUDA_VISIBLE_DEVICES": str(part["gpu"][0])}
            assert report["env"] == {**mask, **dict.fromkeys(THREADS, "1")}
            assert report["cpus"] == report["threads"] == runs_on(*part["cpu"])
            assert report["got"] == system.resources.resources and report["current"] == part
        free = read(tmp_path, "halves-2")
        assert free["env"] == {"CUDA_VISIBLE_DEVICES": "GPU-aaaa,7"}
        assert free["cpus"] == sorted(os.sched_getaffinity(0))
    assert os.sched_getaffinity(0) == set(free["cpus"])
    assert "were all given" not in caplog.text


def test_under_system_without_binding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Options, "no_binding", True)
    with Spread(tmp_path, [{"cpu": [cpu(0)], "gpu": [7]}]):
        report = read(tmp_path, "halves-0")
    assert report["env"] == {} and report["cpus"] == sorted(os.sched_getaffinity(0))
    assert report["current"] == {"cpu": [cpu(0)], "gpu": [7]}


def test_a_gpu_by_the_hosts_index(tmp_path: Path) -> None:
    stages = [{**table(tmp_path, "lost", 1, gpu=1), "class": "tests.stages.bound:ByIndex"}]
    with Cluster({"p": stages}) as cluster:
        eventually(lambda: any(kind == "failed" for kind, *_ in cluster.events))
        (said,) = {text for kind, _, text in cluster.events if kind == "failed"}
    assert "invalid device ordinal (CUDA_VISIBLE_DEVICES is 'GPU-aaaa' here" in said and "use cuda:0" in said


@pytest.mark.skipif(len(CPUS.ids) < 2 or CPUS.by_quota, reason="nothing else is idle on one CPU")
def test_a_crowd_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Spread(tmp_path, [{"cpu": [cpu(0)]}] * 2):
        read(tmp_path, "halves-1")
    assert f"Halves: its 2 workers were all given CPUs [{cpu(0)}], and run on no other" in caplog.text


def zturbo(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zturbo", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_too_few_gpus_start_nothing(tmp_path: Path) -> None:
    lines = ["[[pipeline]]", 'name = "p"']
    for name in ("a", "b"):
        lines += ["[[pipeline.stage]]", f'name = "{name}"', f'class = "{BOUND}"', "resources = { gpu = 1 }"]
        lines += [f'args = {{ folder = "{tmp_path}", label = "{name}" }}']
    (tmp_path / "net.toml").write_text("\n".join(lines))
    done = zturbo(tmp_path, "up", "net.toml", CUDA_VISIBLE_DEVICES="GPU-aaaa", ZTURBO_LOCAL_KEYS="always")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "zturbo: net.toml: pipeline.p.stage.b.resources.gpu: 1 worker of p.b with 1 GPU"
    )
    assert "zturbo may use 1 here: GPU-aaaa (0 of it free)" in done.stderr and "Traceback" not in done.stderr
    done = zturbo(tmp_path, "stage", "net.toml", "p.a", CUDA_VISIBLE_DEVICES="", ZTURBO_LOCAL_KEYS="always")
    assert done.returncode == 2 and "finds no GPU to use here (CUDA_VISIBLE_DEVICES is '')" in done.stderr
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"net.toml"}, "no stage was made, and no keys were left"


def test_the_page_is_right(tmp_path: Path) -> None:
    page = (ROOT / "docs/resources.md").read_text()
    ((code, prints),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, "script.py"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == prints
    assert all(f"`{name}`" in page for name in THREADS)
