"""Launchers of other packages: the example for a Dask cluster, as an entry point of an installed package."""

from __future__ import annotations

import configparser
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zturbo.cli import COMMANDS
from zturbo.cli.launchers import GROUP

ROOT = Path(__file__).parents[2]
FILE = """
[broker]
bind = "tcp://127.0.0.1:{port}"

[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "one"
  class = "tests.stages.basic:Add"
  workers = 2

  [[pipeline.stage]]
  name = "two"
  class = "tests.stages.basic:Add"
"""
CLUSTER = """
import sys
import distributed
options = {"n_workers": 2, "processes": False, "threads_per_worker": 1, "dashboard_address": None}
with distributed.LocalCluster(host="127.0.0.1", protocol="tcp://", **options) as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""
PROGRAM = """
import sys
import threading
from zturbo import Client
with Client() as client:
    assert list(client.map(range(100), pipeline="p")) == list(range(2, 102))
    while client.pipelines()[0]["workers"] != (2, 1) and client.pipelines()[0]["workers"] != [2, 1]:
        threading.Event().wait(0.05)
    (host,) = client.hosts()
    print(sorted(process["name"] for process in host["processes"]))
sys.exit(7)
"""


def install(folder: Path, name: str, module: str) -> dict[str, str]:
    """An environment in which a package has a launcher."""
    about = folder / f"{name}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def zturbo(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zturbo", *words]
    return subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_our_own_launchers_are_entry_points() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.entry_points"][GROUP].split("\n")
    points = dict(line.split(" = ") for line in lines if line)
    assert set(points) == {"ssh", "slurm"}
    for module in points.values():
        assert callable(importlib.import_module(module).add) and module.rpartition(".")[2] in COMMANDS


def test_a_launcher_that_cannot_be_loaded_disturbs_nobody(tmp_path: Path) -> None:
    env = install(tmp_path, "broken", "gone.module")
    done = zturbo(env, "--help")
    assert done.returncode == 0 and "zturbo: the launcher broken (gone.module) cannot be used" in done.stderr
    assert zturbo(env, "check", "--help").stderr == "", "commands of our own do not look for others"


def test_a_dask_cluster(tmp_path: Path) -> None:
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("NOT TESTED: Dask (pip install distributed) is missing")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file, program = tmp_path / "net.toml", tmp_path / "program.py"
    file.write_text(FILE.format(port=port))
    program.write_text(PROGRAM)
    env = install(tmp_path, "dask_of_mine", "examples.dask_launcher")
    command = [sys.executable, "-c", CLUSTER]  # a process of its own: Dask changes how exceptions are pickled
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster:
        assert cluster.stdin is not None and cluster.stdout is not None
        scheduler = cluster.stdout.readline().strip()
        done = zturbo(env, "dask", str(file), "--scheduler", scheduler, "--", str(program))
        cluster.stdin.close()
    assert done.returncode == 7, done.stderr
    assert "['broker', 'p.one', 'p.one', 'p.two', 'sink']" in done.stdout
