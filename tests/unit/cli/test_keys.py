"""``zturbo keys``, and what other commands do with keys and without."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from zturbo.cli import main, parser
from zturbo.cli.run import load
from zturbo.errors import AccessDenied, UsageError

NETWORK = """
[broker]
bind = "tcp://10.0.0.1:5555"
{more}

[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "s"
  class = "m:C"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZTURBO_KEYS", raising=False)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["keys", *words]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_keys_are_made_listed_and_revoked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "init") == "made broker.key, node-local.key, admin-admin.key in keys\n"
    assert said(capsys, "add", "node", "gpu1").startswith("made keys/node-gpu1.key: move it to its host")
    assert said(capsys, "list") == "node    gpu1\nnode    local\nadmin   admin\n"
    assert said(capsys, "revoke", "gpu1") == "revoked node gpu1\n"
    listed = json.loads(said(capsys, "list", "--json"))
    assert listed == [{"role": "node", "name": "local"}, {"role": "admin", "name": "admin"}]
    assert not (folder / "keys/node-gpu1.key").exists()


@pytest.mark.parametrize(
    "words, text",
    [
        (["add", "node"], "expected 'zturbo keys add ROLE NAME'"),
        (["add", "king", "x"], "there is no role 'king'"),
        (["revoke", "x"], "no key of the name 'x'"),
        (["list", "--keys", "nowhere"], "'zturbo keys init nowhere' makes one"),
        (["init", "keys"], "has keys already"),
    ],
)
def test_mistakes(folder: Path, words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "init")
    assert text in said(capsys, *words, code=2)


def arguments(folder: Path, *words: str, more: str = "", address: str = "10.0.0.1") -> argparse.Namespace:
    file = folder / "network.toml"
    file.write_text(NETWORK.format(more=more))
    return parser().parse_args(["up", str(file), *(("--address", address) if address else ()), *words])


def test_a_bind_beyond_this_host_wants_keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"zturbo keys init FOLDER.*--keys FOLDER.*--insecure"):
        load(arguments(folder))
    assert load(arguments(folder, "--insecure")).is_open
    said(capsys, "init")
    network = load(arguments(folder, "--insecure", more='keys = "keys"'))
    assert network.keys == str(folder / "keys") and not network.is_open
    assert load(arguments(folder, "--keys", "keys")).keys == str(folder / "keys")


def test_the_environment_names_keys_for_tcp_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZTURBO_KEYS", str(folder / "nowhere"))
    with pytest.raises(UsageError, match="nowhere"):
        load(arguments(folder))
    assert load(arguments(folder, "--bind", "ipc:///tmp/x", address="")).keys is None


def test_wrong_rights_are_told_before_anything_starts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "init")
    (folder / "keys/node-local.key").chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        load(arguments(folder, "--keys", "keys"))


def test_who_is_denied_gets_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def deny(args: object) -> None:
        raise AccessDenied("no")

    monkeypatch.setattr("zturbo.cli.jobs.connect", deny)
    assert main(["jobs"]) == 4
    assert capsys.readouterr().err == "zturbo: no\n"
