"""By which address a host is reached: as was said, else on the way to the broker; if none, it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from zturbo.cli import parser
from zturbo.cli.run import load
from zturbo.errors import UsageError
from zturbo.runtime.net.host import tcp_address

FILE = '[broker]\nbind = "{bind}"\n[[pipeline]]\nname = "p"\n[[pipeline.stage]]\nname = "s"\nclass = "m:S"\n'


def address(folder: Path, bind: str, *words: str) -> str | None:
    """What ``zturbo up`` with these words takes for its host's."""
    file = folder / "net.toml"
    file.write_text(FILE.format(bind=bind))
    args = parser().parse_args(["up", str(file), *words])
    load(args)
    found: str | None = args.address
    return found


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:5555", "tcp://localhost:5555", "ipc:///tmp/x"])
def test_on_loopback_there_is_none(tmp_path: Path, bind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert address(tmp_path, bind, "--insecure") is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:5555", "tcp://*:5555"])
def test_a_wildcard_does_not_tell(tmp_path: Path, bind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert address(tmp_path, bind, "--insecure") is None
    assert "--address does" in capsys.readouterr().err
    assert address(tmp_path, bind, "--insecure", "--address", "10.0.0.7") == "10.0.0.7"
    assert capsys.readouterr().err == ""


def test_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZTURBO_ADDRESS", "10.0.0.7")
    assert address(tmp_path, "tcp://127.0.0.1:5555", "--insecure") == "10.0.0.7"
    with pytest.raises(UsageError, match="--insecure"):
        address(tmp_path, "tcp://127.0.0.1:5555")


def test_ipv6_addresses_have_their_brackets(tmp_path: Path) -> None:
    assert address(tmp_path, "tcp://[::1]:5555", "--insecure") is None
    assert address(tmp_path, "tcp://[::]:5555", "--insecure", "--address", "fd00::7") == "fd00::7"
    assert tcp_address("fd00::7", "*") == "tcp://[fd00::7]:*"
    assert tcp_address("10.0.0.7", 1) == "tcp://10.0.0.7:1"
