"""Keys on loopback: where they are wanted, and who finds them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zturbo.errors import UsageError
from zturbo.runtime.net import localkeys
from zturbo.runtime.net.keys import read_keys
from zturbo.runtime.net.localkeys import (
    announced,
    find_local,
    has_other_users,
    make_local,
    to_make,
    unmake,
    wants_local,
)

AT = "tcp://127.0.0.1:5555"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localkeys, "_folders", lambda: [Path("/proc/none"), tmp_path / "mine"])


def passwd(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "passwd"
    path.write_text("root:x:0:0:root:/root:/bin/bash\n" + "".join(line + "\n" for line in lines))
    return str(path)


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("ann:x:1717:1717::/home/ann:/bin/bash", True),
        (f"me:x:{os.geteuid()}:1:me:/home/me:/bin/sh", False),
        ("www-data:x:33:33::/var/www:/bin/sh", False),
        ("svc:x:1718:1718::/:/usr/sbin/nologin", False),
        ("nobody:x:65534:65534::/:/bin/sh", False),
        ("nonsense", False),
    ],
)
def test_other_users_are_people_with_a_shell(tmp_path: Path, line: str, other: bool) -> None:
    assert has_other_users(passwd(tmp_path, line), str(tmp_path / "nobody")) == other


def test_somebody_who_is_logged_in_is_another_user(tmp_path: Path) -> None:
    logins = tmp_path / "run"
    (logins / "0").mkdir(parents=True)
    assert not has_other_users(passwd(tmp_path), str(logins))
    (logins / "1719").mkdir()
    assert has_other_users(passwd(tmp_path), str(logins))
    assert has_other_users(str(tmp_path / "missing"), str(logins))
    assert not has_other_users(str(tmp_path / "missing"), str(tmp_path / "missing"))


def test_keys_are_made_on_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for others in (False, True):
        monkeypatch.setattr(localkeys, "has_other_users", lambda others=others: others)
        assert wants_local(AT, "auto") == others
        assert wants_local(AT, "always") and not wants_local(AT, "never")
        assert not wants_local("tcp://10.0.0.1:5555", "always")
        assert not wants_local("ipc:///tmp/broker", "always")


def test_a_client_finds_them_while_the_broker_runs(tmp_path: Path) -> None:
    folder = make_local(tmp_path / "state")
    assert make_local(tmp_path / "state") == folder  # those that are there
    assert find_local(AT) is None
    with announced(AT, str(folder)) as file:
        assert file is not None and file.stat().st_mode & 0o777 == 0o600
        for address in (AT, "tcp://localhost:5555", "tcp://[::1]:5555"):
            found = find_local(address)
            assert found is not None and read_keys(found, ("admin",)).who.role == "admin"
        for address in ("tcp://127.0.0.1:5556", "tcp://10.0.0.1:5555", "ipc:///tmp/x", "tcp://127.0.0.1:x"):
            assert find_local(address) is None
        with announced(AT, str(folder)) as second:  # which will not get the address
            assert second is None
        assert find_local(AT) == str(folder)
    assert find_local(AT) is None and not file.exists()


def test_keys_of_a_file_are_not_told(tmp_path: Path) -> None:
    for keys in (None, str(tmp_path / "keys")):
        with announced(AT, keys) as file:
            assert file is None and find_local(AT) is None


def test_what_a_killed_broker_left_is_not_believed(tmp_path: Path) -> None:
    with announced(AT, str(make_local(tmp_path / "state"))) as file:
        assert file is not None
        name, text = file.name, file.read_text()
    (tmp_path / "mine" / name).touch(0o600)
    (tmp_path / "mine" / name).write_text(text)
    assert find_local(AT) is None


def test_what_others_can_write_is_not_believed(tmp_path: Path) -> None:
    folder = str(make_local(tmp_path / "state"))
    with announced(AT, folder) as file:
        assert file is not None
        file.chmod(0o640)
        assert find_local(AT) is None
        file.chmod(0o600)
        file.parent.chmod(0o755)
        assert find_local(AT) is None
        with announced("tcp://127.0.0.1:5556", folder) as other:
            assert other is None
        file.parent.chmod(0o700)
        assert find_local(AT) == folder
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
        assert find_local(AT) is None


def test_a_state_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file/state cannot be written"):
        make_local(tmp_path / "file" / "state")
    (tmp_path / "state" / "local-keys").mkdir(parents=True)
    (tmp_path / "state" / "local-keys").chmod(0o755)
    with pytest.raises(UsageError):
        make_local(tmp_path / "state")


def test_what_a_command_made_that_failed_is_removed(tmp_path: Path) -> None:
    state = tmp_path / ".zturbo" / "net"
    made = to_make(state)
    folder = make_local(state)
    assert made == [folder, state, tmp_path / ".zturbo"]
    with announced(AT, str(folder)):
        unmake(made, AT)
        assert folder.is_dir(), "a broker has them by now"
    (tmp_path / ".zturbo" / "other").mkdir()
    unmake(made, AT)
    assert [path.name for path in (tmp_path / ".zturbo").iterdir()] == ["other"]


def test_keys_that_were_there_before_stay(tmp_path: Path) -> None:
    folder = make_local(tmp_path / "state")
    assert to_make(tmp_path / "state") == []
    unmake([], AT)
    assert folder.is_dir()
    (tmp_path / "empty").mkdir()
    made = to_make(tmp_path / "empty")
    make_local(tmp_path / "empty")
    unmake(made, AT)
    assert [*(tmp_path / "empty").iterdir()] == [], "and so does a folder that was there"
