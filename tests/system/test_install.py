"""What an installation gives: our packages under names of our own, and types for a user's checker."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import msgpack
import psutil
import zmq

ROOT = Path(__file__).parents[2]

USER = """
from collections.abc import Iterator

from zturbo import Client, Job, Stage, Task


class Detect(Stage):
    def process(self, task: Task) -> Iterator[Task]:
        yield Task(task.content)


def run(client: Client) -> None:
    reveal_type(client.submit(Job("a", Task(1)), pipeline="p"))
    client.submit(5)
"""

SYSTEM = """
from zturbo import Job, Stage, System, Task
import broker


class Say(Stage):
    def process(self, task):
        return Task(broker.__file__)


class Pipelines(System):
    def get_stages(self, resources):
        return [Say()]


if __name__ == "__main__":
    with Pipelines() as system:
        system.add_job(Job("j", Task("x")))
        assert system.result_queue.get().results[0] == broker.__file__
    import zturbo, zturbo_broker
    print(zturbo.__file__, zturbo_broker.__file__, broker.__file__)
"""


def test_a_type_checker_finds_the_types_of_an_editable_installation(tmp_path: Path) -> None:
    """``pip install -e`` leaves a plain path: mypy does not follow import hooks."""
    (tmp_path / "user.py").write_text(USER)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert "zturbo.client.handle.JobHandle" in done.stdout, done.stdout + done.stderr
    assert "user.py:14: error" in done.stdout and "in 1 file" in done.stdout, done.stdout


def test_a_wheel_lives_beside_a_package_named_broker(tmp_path: Path) -> None:
    """In an environment of its own, with what zturbo needs from this one."""
    source = tmp_path / "source"
    for name in ("zturbo", "broker", "src"):
        shutil.copytree(
            ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("*.egg-info")
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(source)]
    subprocess.run([*command, "--disable-pip-version-check"], check=True, timeout=200)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"zturbo", "zturbo_broker"}
        assert {"zturbo/py.typed", "zturbo_broker/py.typed", "zturbo_broker/server.py"} <= {
            *archive.namelist()
        }
        home = tmp_path / "venv"
        venv.create(home)
        (site,) = home.glob("lib/python*/site-packages")
        (site / "broker").mkdir()
        (site / "broker" / "__init__.py").write_text("")
        archive.extractall(site)
    assert (site / "broker" / "__init__.py").read_text() == ""
    needed = {Path(module.__file__ or "").parents[1] for module in (zmq, psutil, msgpack)}
    (site / "needed.pth").write_text("\n".join(map(str, needed)) + "\n")
    (tmp_path / "main.py").write_text(SYSTEM)
    command = [str(home / "bin" / "python"), "main.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert all(file.startswith(str(site)) for file in done.stdout.split()), done.stdout
