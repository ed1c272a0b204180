"""Files of keys: how they are made, found, refused, and taken back."""

from __future__ import annotations

import os
import stat
import types
from pathlib import Path

import pytest
import zmq

from zturbo.errors import UsageError
from zturbo.runtime.net import keys
from zturbo.runtime.net.keys import ASKING, Identity


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.make_folder(tmp_path / "keys")
    return tmp_path / "keys"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files = keys.make_folder(tmp_path / "a/keys")
    finally:
        os.umask(before)
    folder = tmp_path / "a/keys"
    assert [path.name for path in files] == ["broker.key", "node-local.key", "admin-admin.key"]
    assert mode(folder) == mode(folder / "allowed") == 0o700
    assert {mode(path) for path in folder.rglob("*.*")} == {0o600}
    assert not list(folder.rglob(".*"))


def test_who_is_let_in(folder: Path) -> None:
    keys.add(folder, "client", "bob")
    assert keys.read_folder(folder) == [
        Identity("node", "local"), Identity("client", "bob"), Identity("admin", "admin")
    ]  # fmt: skip
    bob = keys.read_keys(folder / "client-bob.key", ("client",))
    assert keys.allowed(folder)[bob.public] == Identity("client", "bob")
    assert keys.read_keys(folder, ("broker",)).public == bob.broker
    assert len({bob.public, bob.secret, bob.broker}) == 3


def test_a_revoked_key_is_let_in_no_more(folder: Path) -> None:
    path = keys.add(folder, "node", "gpu1")
    public = keys.read_keys(path, ("node",)).public
    seen = keys.seen_change(folder)
    assert public in keys.allowed(folder) and keys.seen_change(folder) == seen
    assert keys.revoke(folder, "gpu1") == Identity("node", "gpu1")
    assert public not in keys.allowed(folder) and not path.exists()
    assert keys.seen_change(folder) != seen
    keys.add(folder, "node", "gpu1")
    assert public not in keys.allowed(folder)  # the name is free again, and has another key
    with pytest.raises(UsageError, match="no key of the name 'gpu2'"):
        keys.revoke(folder, "gpu2")


def test_the_best_key_of_a_folder_is_taken(folder: Path) -> None:
    keys.add(folder, "node", "gpu1")
    keys.add(folder, "client", "bob")
    assert keys.read_keys(folder, ("node",)).who == Identity("node", "local")
    assert keys.read_keys(folder, ASKING).who == Identity("admin", "admin")
    (folder / "admin-admin.key").unlink()
    assert keys.read_keys(folder, ASKING).who == Identity("client", "bob")
    keys.add(folder, "client", "ann")
    with pytest.raises(UsageError, match=r"several keys of role client \(client-ann.key, client-bob.key\)"):
        keys.read_keys(folder, ASKING)
    with pytest.raises(UsageError, match="'zturbo keys add viewer NAME' makes one"):
        keys.read_keys(folder, ("viewer",))
    with pytest.raises(UsageError, match="is the key of a client, and this needs one of a node"):
        keys.read_keys(folder / "client-bob.key", ("node",))
    wanted = "needs one of an admin or a client or a viewer: 'zturbo keys add client NAME' makes one"
    with pytest.raises(UsageError, match=wanted):
        keys.read_keys(folder / "node-local.key", keys.ASKING)


@pytest.mark.parametrize("right", [0o640, 0o604, 0o620, 0o666])
def test_what_others_can_read_is_refused(folder: Path, right: int) -> None:
    path = folder / "node-local.key"
    path.chmod(right)
    with pytest.raises(UsageError, match=f"others can read {path} .*: chmod 600 {path}"):
        keys.read_keys(path, ("node",))
    folder.chmod(0o750)
    for read in (keys.allowed, keys.read_folder, lambda folder: keys.read_keys(folder, ("broker",))):
        with pytest.raises(UsageError, match=f"chmod 700 {folder}"):
            read(folder)


def test_mistakes_have_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has keys already"):
        keys.make_folder(folder)
    with pytest.raises(UsageError, match="there is no role 'king'"):
        keys.add(folder, "king", "x")
    for name in ("", "../x", "a b", "-x", "x" * 65):
        with pytest.raises(UsageError, match="is not a valid name of a key"):
            keys.add(folder, "node", name)
    with pytest.raises(UsageError, match="has a node local already"):
        keys.add(folder, "client", "local")
    with pytest.raises(UsageError, match="is not a broker's folder of keys"):
        keys.add(tmp_path, "node", "x")
    with pytest.raises(UsageError, match="No such file"):
        keys.read_keys(tmp_path / "nothing.key", ("node",))
    for name in ("a\0b", "x" * 5000, "\ud800"):
        with pytest.raises(UsageError, match="cannot be read"):
            keys.read_keys(name, ("node",))


@pytest.mark.parametrize(
    "text", ["", "role = x", 'role = "node"\n', "\xff" * 5000, 'secret = "' + "x" * 40 + '"\n']
)
def test_other_files_are_no_keys(folder: Path, text: str) -> None:
    path = folder / "node-x.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UsageError) as raised:
        keys.read_keys(path, ("node",))
    assert "x" * 40 not in str(raised.value)
    before = keys.allowed(folder)
    (folder / "allowed/node-x.pub").write_text(text)
    assert keys.allowed(folder) == before


def test_no_key_is_shown(folder: Path) -> None:
    mine = keys.read_keys(folder, ("node",))
    for text in (repr(mine), str(mine), f"{mine}"):
        assert mine.secret not in text and mine.public not in text


def test_an_old_libzmq_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq, "zmq_version_info", lambda: (4, 3, 2))
    with pytest.raises(UsageError, match=r"keys need libzmq 4\.3\.3 or newer"):
        keys.read_keys(folder, ("node",))


def test_a_folder_that_is_mounted_read_only_may_have_any_mode(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.chmod(0o755)
    with pytest.raises(UsageError, match="chmod 700"):
        keys.read_keys(folder, ("node",))
    monkeypatch.setattr(os, "statvfs", lambda path: types.SimpleNamespace(f_flag=os.ST_RDONLY))
    assert keys.read_keys(folder, ("node",)).who.name == "local"
    (folder / "node-local.key").chmod(0o440)
    assert keys.read_keys(folder, ("node",)).who.name == "local"
    (folder / "node-local.key").chmod(0o444)
    with pytest.raises(UsageError, match="chmod 600"):
        keys.read_keys(folder, ("node",))


def test_public_keys_may_lie_in_the_folder_itself(folder: Path) -> None:
    """As in a Secret of Kubernetes, which has no folders."""
    before, seen = keys.allowed(folder), keys.seen_change(folder)
    for path in (folder / "allowed").iterdir():
        path.rename(folder / path.name)
    (folder / "allowed").rmdir()
    assert keys.allowed(folder) == before and keys.seen_change(folder) != seen


def test_a_libzmq_with_faults_that_strangers_reach_takes_no_keys(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, has in (((4, 3, 2), True), ((4, 3, 5), False)):
        monkeypatch.setattr(zmq, "zmq_version_info", lambda version=version: version)
        monkeypatch.setattr(zmq, "has", lambda what, has=has: has and what == "curve")
        with pytest.raises(UsageError, match=r"keys need libzmq 4\.3\.3 or newer with CURVE"):
            keys.read_keys(folder / "node-local.key", ("node",))
