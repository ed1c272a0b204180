"""The code that goes to hosts."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from zturbo.deploy import bundle as module
from zturbo.deploy.bundle import bundle
from zturbo.deploy.network import Network
from zturbo.errors import UsageError


def project(folder: Path) -> Network:
    (folder / "pack" / "__pycache__").mkdir(parents=True)
    (folder / "pack" / "stages.py").write_text("x = 1\n")
    (folder / "pack" / "table.csv").write_text("1,2\n")
    (folder / "pack" / "__pycache__" / "stages.pyc").write_text("old")
    (folder / "helper.py").write_text("y = 2\n")
    (folder / "notes.txt").write_text("mine")
    (folder / "other").mkdir()
    (folder / "other" / "big.py").write_text("z = 3\n")
    stage = {"name": "s", "class": "pack.stages:C"}
    (folder / "net.toml").write_text('[[pipeline]]\nname = "p"\n')
    return Network.parse({"pipeline": [{"name": "p", "stage": [stage]}]}, str(folder / "net.toml"))


def names(code: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(code)) as tar:
        return tar.getnames()


def test_it_has_the_file_the_modules_and_the_packages_of_stages(tmp_path: Path) -> None:
    network = project(tmp_path)
    version, code = bundle(network, tmp_path)
    assert names(code) == ["helper.py", "net.toml", "pack/stages.py", "pack/table.csv"]
    assert bundle(network, tmp_path)[0] == version
    assert "other/big.py" in names(bundle(network, tmp_path, ["other"])[1])
    (tmp_path / "pack" / "table.csv").write_text("1,3\n")
    assert bundle(network, tmp_path)[0] != version


def test_what_cannot_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = project(tmp_path)
    for path in ("../x", "gone"):
        with pytest.raises(UsageError, match=r"--include: .* is no file or folder below"):
            bundle(network, tmp_path, [path])
    monkeypatch.setattr(module, "LARGEST", 10)
    with pytest.raises(UsageError, match=r"The largest file is net\.toml: move data elsewhere"):
        bundle(network, tmp_path)
