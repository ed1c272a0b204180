"""Launchers are told when all processes of a command have joined."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import children, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zt-ready-") as name:
        yield Path(name)


def test_systemd_and_probes_are_told_when_all_have_joined_and_when_they_stop(folder: Path) -> None:
    ready, file = folder / "ready", ROOT / "examples/toy/toy.toml"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(folder / "notify"))
        notified.settimeout(60)
        words = [
            "up",
            str(file),
            "--bind",
            f"ipc://{folder}/b",
            "--state",
            str(folder / "s"),
            "--no-progress",
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(folder / "notify")}
        env["ZTURBO_READY_FILE"] = str(ready)
        up = subprocess.Popen([sys.executable, "-m", "zturbo", *words], env=env, cwd=folder)
        try:
            told = [notified.recv(4096).decode()]
            while "READY=1" not in told[-1]:
                told.append(notified.recv(4096).decode())
            assert told[-1] == "STATUS=9 of 9 processes have joined the broker\nREADY=1"
            assert ready.exists()
            victim = children(up.pid)[-1]
            os.kill(victim, signal.SIGKILL)
            assert notified.recv(4096).decode() == "STATUS=8 of 9 processes have joined the broker"
            eventually(ready.exists)
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)
        told = []
        while "STOPPING=1" not in told:
            told.append(notified.recv(4096).decode())
    assert not ready.exists()


def test_a_ready_file_that_cannot_be_written_is_told_at_the_start(folder: Path) -> None:
    words = [
        "up",
        str(ROOT / "examples/toy/toy.toml"),
        "--bind",
        f"ipc://{folder}/b",
        "--ready-file",
        "/proc/no/x",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "zturbo", *words, "--state", str(folder / "s")],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2 and "--ready-file" in done.stderr
