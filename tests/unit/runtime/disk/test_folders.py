"""Folders for sockets and for state: what is stale, too long or read-only has a next best, or a sentence."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from zturbo import Client
from zturbo.errors import StartError
from zturbo.runtime.disk.folders import LONGEST_IPC, runtime_dir, short_enough, state_folder
from zturbo.runtime.net.sockets import make
from zturbo_broker.ledger.ledger import Ledger


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    """A folder with a path of more than 84 characters."""
    folder = tmp_path / ("x" * 84)
    folder.mkdir()
    return folder


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder on a disk that is read-only, with a ledger in it."""
    folder = Path(tempfile.mkdtemp(prefix="ro-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("disks cannot be mounted here")
    try:
        Ledger(folder / "ledger.db").close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.parametrize("kind", ["stale", "long", "file", "unset"])
def test_sockets_have_a_folder_whatever_the_environment_says(
    kind: str, tmp_path: Path, long_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    folders = {"stale": tmp_path / "gone", "long": long_folder, "file": tmp_path / "file"}
    bad = str(folders.get(kind, ""))
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.setenv(name, bad)
    monkeypatch.setattr(tempfile, "tempdir", bad or None)
    folder = runtime_dir()
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert short_enough(str(folder.parent)) and not str(folder).startswith(bad or "-")
    finally:
        folder.rmdir()


def test_the_first_folder_that_will_do_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path(tempfile.mkdtemp(prefix="b-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    folder = runtime_dir()
    assert folder.parent == base
    folder.rmdir()
    base.rmdir()


def test_where_no_folder_will_do_each_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(StartError, match=r"no folder for sockets .*/tmp: Read-only file system.*TMPDIR"):
        runtime_dir()


def test_an_address_that_is_too_long_is_a_sentence(long_folder: Path) -> None:
    address = f"ipc://{long_folder}/" + "y" * 30
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with pytest.raises(StartError, match=f"may have {LONGEST_IPC} bytes"):
            make(context, zmq.PULL, bind=address)
    finally:
        context.term()
    with pytest.raises(StartError, match="Name a shorter one"):
        Client(address)


def test_state_on_a_read_only_disk(read_only: Path) -> None:
    for folder in (read_only, read_only / "state"):
        with pytest.raises(StartError, match=r"cannot be written: Read-only file system.*--state"):
            state_folder(folder)
        with pytest.raises(StartError, match="Read-only file system") as refused:
            Ledger(folder / "ledger.db")
        assert "full" not in str(refused.value) and "damaged" not in str(refused.value)


def test_state_in_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="cannot be written: Not a directory"):
        state_folder(tmp_path / "file" / "state")
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(StartError, match="cannot be written: Permission denied"):
            state_folder(tmp_path / "closed")
