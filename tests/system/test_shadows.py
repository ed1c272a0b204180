"""A user's modules may have any name: our processes import ours, the user's stages theirs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.test_cli_run import Shell

ROOT = Path(__file__).parents[2]

TAKEN = ("queue", "random", "types", "socket", "zmq")

STAGES = """
import queue, random, types, socket, zmq
import logging.level
import broker.names
from logging import level


def say(content):
    import asyncio, multiprocessing.queues, tempfile  # they import Python's queue, random, types
    from logging.level import MINE
    mine = [queue.MINE, random.MINE, types.MINE, socket.MINE, zmq.MINE, level.MINE, logging.level.MINE, MINE]
    return [*mine, broker.names.MINE, content]
"""

MODULE = """MINE = "{}"


def again(content):
    return [*content, MINE]
"""

NETWORK = """
[[pipeline]]
name = "p"
  [[pipeline.stage]]
  name = "say"
  class = "stages:say"
  [[pipeline.stage]]
  name = "again"
  class = "queue:again"
"""

SYSTEM = """
import os
from zturbo import Job, Stage, System, Task


class Say(Stage):
    def process(self, task):
        import stages, queue
        return Task([*stages.say(task.content), queue.again([])])


class Pipelines(System):
    def get_stages(self, resources):
        return [Say()]


if __name__ == "__main__":
    with Pipelines() as system:
        system.add_job(Job("j", Task("x")))
        print(system.result_queue.get().results)
"""

SAID = [*TAKEN, "level", "level", "level", "names", "x"]


@pytest.fixture
def shell() -> Iterator[Shell]:
    """In a folder with modules whose names Python's library, zturbo and what it needs have too."""
    shell = Shell()
    shell.cwd = folder = shell.folder / "user"
    (folder / "logging").mkdir(parents=True)
    (folder / "broker").mkdir()
    for name in TAKEN:
        (folder / f"{name}.py").write_text(
            f'MINE = "{name}"\n\n\ndef again(content):\n    return [*content, MINE]\n'
        )
    (folder / "logging" / "__init__.py").write_text("from .level import MINE\n")
    (folder / "logging" / "level.py").write_text('MINE = "level"\n')
    (folder / "broker" / "__init__.py").write_text("from . import names\n")
    (folder / "broker" / "names.py").write_text('MINE = "names"\n')
    (folder / "broker" / "__main__.py").write_text('raise SystemExit("the user\'s broker was run")\n')
    (folder / "stages.py").write_text(STAGES)
    (folder / "net.toml").write_text(NETWORK)
    # 'python -m' has the folder on its path before anything of ours runs: a console script has not.
    code = "import sys; sys.path.remove(''); from zturbo.cli import main; sys.exit(main())"
    shell.command = [sys.executable, "-c", code]
    yield shell
    shell.close()


def test_everything_of_a_network_file(shell: Shell) -> None:
    checked = shell.run("check", "net.toml")
    assert checked.returncode == 0, checked.stderr
    quiet = {"stdout": subprocess.DEVNULL, "stderr": None}
    shell.start("up", "net.toml", "--no-progress", **quiet)
    shell.wait()
    done = shell.run("submit", "p", "x")
    assert done.returncode == 0 and json.loads(done.stdout) == [*SAID, "queue"], done.stderr


def test_the_broker_alone_and_a_module_of_that_name(shell: Shell) -> None:
    (shell.cwd / "broker" / "names.py").unlink()
    (shell.cwd / "broker" / "__main__.py").unlink()
    (shell.cwd / "broker" / "__init__.py").unlink()
    (shell.cwd / "broker").rmdir()
    (shell.cwd / "broker.py").write_text('raise SystemExit("the user\'s broker was run")\n')
    process = shell.start("broker", "net.toml", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert (first["event"], first["name"]) == ("ready", "broker"), first


def test_a_system_whose_working_directory_has_them(shell: Shell) -> None:
    """The script's own process is the user's; its workers are ours."""
    script = shell.folder / "script"
    script.mkdir()
    (script / "main.py").write_text(SYSTEM)
    code = (
        "import sys; sys.path.remove('')\n"
        "import asyncio, runpy, multiprocessing.spawn, tempfile, zturbo.system.system\n"
        f"sys.path.insert(0, {str(shell.cwd)!r})\n"
        f"runpy.run_path({str(script / 'main.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=shell.cwd,
        env=shell.env,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.replace("'", '"')) == [[*SAID, ["queue"]]]
