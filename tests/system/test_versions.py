"""Processes of another version than the broker."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.system.test_cli_run import ROOT, TOY, Shell
from zturbo import Client
from zturbo.version import __version__


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    yield shell
    shell.close()


@pytest.mark.parametrize(
    "words", [("stage", str(TOY), "toy.count"), ("sink", str(TOY))], ids=["stage", "sink"]
)
def test_another_version_is_refused_for_good(shell: Shell, words: tuple[str, ...]) -> None:
    other = shell.folder / "other"
    shutil.copytree(ROOT / "zturbo", other / "zturbo", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "examples", other / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    version = other / "zturbo/version.py"
    version.write_text(version.read_text().replace(__version__, "9.9.9"))
    broker = shell.start("broker", str(TOY), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert broker.stderr is not None
    assert any("broker runs" in line for line in iter(broker.stderr.readline, ""))
    mine = shell.cwd
    shell.cwd = other
    shell.env["PYTHONPATH"] = str(other)
    done = shell.run(*words)
    shell.cwd = mine
    shell.env["PYTHONPATH"] = str(mine)
    assert done.returncode == 4, done
    why = f"it is zturbo 9.9.9, this broker {__version__}: install one on all hosts"
    assert why in done.stderr and "it is not started again" in done.stderr, done.stderr
    with Client(shell.address) as client:
        told = client.pipelines()[0]["problems"]["count" if words[0] == "stage" else "sink"]
        assert why in told and "is refused" in told
        assert any(why in line["text"] for line in client.logs())
    broker.terminate()
