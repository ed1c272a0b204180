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
from zturbo.runtime.disk.folders import (
    LONGEST_IPC,
    QUIET,
    lock_folder,
    runtime_dir,
    short_enough,
    state_folder,
    sweep_runtime_dirs,
)
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


def _left(base: Path, *, old: bool = True, child: str = "0a1b2c3d") -> Path:
    """The folder of a node that was killed with all of its children, some time ago."""
    folder = Path(tempfile.mkdtemp(prefix="zturbo-", dir=base))
    (folder / child).mkdir()
    (folder / child / "spill").write_bytes(b"much")
    if old:
        _age(folder)
    return folder


def _age(folder: Path) -> None:
    before = folder.stat().st_mtime - QUIET - 1
    os.utime(folder, (before, before))


def test_what_a_node_has_left_that_was_killed_with_its_children_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    left = _left(tmp_path)
    sweep_runtime_dirs(runtime_dir())
    assert not left.exists()


def test_what_is_no_folder_of_a_dead_node_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    young, of_others, named = _left(tmp_path, old=False), _left(tmp_path), _left(tmp_path, child="mine")
    alive, filled, empty = (
        _left(tmp_path),
        _left(tmp_path),
        Path(tempfile.mkdtemp(prefix="zturbo-", dir=tmp_path)),
    )
    of_others.chmod(0o755)
    (filled / "thesis.tex").touch()
    link = tmp_path / "zturbo-abcdefgh"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link.symlink_to(_left(elsewhere))
    for folder in (filled, empty):
        _age(folder)
    held = lock_folder(alive)
    assert held is not None
    sweep_runtime_dirs(runtime_dir())
    os.close(held)
    kept = (young, of_others, named, alive, filled, empty, link)
    assert [folder.name for folder in kept if not folder.exists()] == []
