"""The folder of a network on a host."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from zturbo.deploy.workfolder import SPARE, WorkFolder
from zturbo.errors import StartError

VERSION = "0123456789ab"


def tar(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        member.size = 3 if kind == tarfile.REGTYPE else 0
        file.addfile(member, io.BytesIO(b"x=1"))
    return out.getvalue()


def test_code_is_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path))
    with folder.locked():
        folder.unpack(VERSION, tar("pack/stages.py"))
        assert (folder.version(VERSION) / "pack/stages.py").read_text() == "x=1"
        for code in (tar("../x"), tar("/tmp/x"), tar("x", tarfile.SYMTYPE), b"no tar", tar("y")[:300]):
            with pytest.raises(StartError, match=r"no file below its folder|cannot be unpacked"):
                folder.unpack("f" * 12, code)
        assert [path.name for path in (tmp_path / "versions").iterdir()] == [VERSION]
        for name in ("../../x", "", "0123456789aZ"):
            with pytest.raises(StartError, match="is no version"):
                folder.unpack(name, tar("x"))


def test_old_versions_are_removed(tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path))
    with folder.locked():
        for i in range(6):
            folder.unpack(f"{i:012x}", tar("x"))
        folder.prune(f"{0:012x}")
        left = {path.name for path in (tmp_path / "versions").iterdir()}
        assert f"{0:012x}" in left and len(left) == 1 + SPARE


def test_keys_are_for_this_user_alone_and_old_ones_go(tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path))
    folder.write_keys({"node-a.key": "1", "allowed/node-a.pub": "2"})
    folder.write_keys({"node-b.key": "3"})
    (left,) = [path for path in (tmp_path / "keys").rglob("*") if path.is_file()]
    assert left.name == "node-b.key" and left.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    for name in ("../x", "/tmp/x"):
        with pytest.raises(StartError, match="no name of a key"):
            folder.write_keys({name: "x"})


def test_two_do_not_hold_it_at_once(tmp_path: Path) -> None:
    with WorkFolder(str(tmp_path)).locked():
        with pytest.raises(StartError, match="another 'zturbo deploy' is at work"):
            with WorkFolder(str(tmp_path)).locked():
                pass
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="name another folder with 'workdir'"):
        with WorkFolder(str(tmp_path / "file" / "x")).locked():
            pass


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path))
    with folder.locked():
        for name, text in (("p.s.1", "{}"), ("p.s.2", "no JSON"), ("p.s.3", "[1]")):
            (tmp_path / "run" / f"{name}.json").write_text(text)
        assert folder.running() == [] and folder.left() == [] and folder.tails(5) == {}
