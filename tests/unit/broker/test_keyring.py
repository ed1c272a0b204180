"""The broker's keys: what it notices of its folder, and what sinks are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from zturbo.runtime.net import keys
from zturbo_broker.keyring import LOOK_EVERY, TELL_EVERY, Keyring


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.make_folder(tmp_path / "keys")
    return tmp_path / "keys"


def test_a_revoked_key_is_noticed_at_the_next_look(folder: Path) -> None:
    path = keys.add(folder, "node", "gpu1")
    public = keys.read_keys(path, ("node",)).public
    ring = Keyring(folder, shared=False)
    assert str(ring.users[public]) == "node gpu1"
    assert ring.look(0.0) is None
    keys.revoke(folder, "gpu1")
    assert ring.look(LOOK_EVERY / 2) is None and public in ring.users
    assert ring.look(LOOK_EVERY) == {public} and public not in ring.users
    assert ring.look(2 * LOOK_EVERY) is None
    keys.add(folder, "node", "gpu2")
    assert ring.look(3 * LOOK_EVERY) == set() and len(ring.users) == 3


def test_a_message_is_looked_at_by_the_keys_of_its_time(folder: Path) -> None:
    """Also if nobody has looked at the folder meanwhile; what follows for members comes at the next look."""
    keys.add(folder, "node", "gpu1")
    public = keys.read_keys(folder / "node-gpu1.key", ("node",)).public
    ring = Keyring(folder, shared=False)
    assert ring.look(0.0) is None and ring.user(public, 0.0) is not None
    keys.revoke(folder, "gpu1")
    assert ring.user(public, LOOK_EVERY / 2) is not None
    assert ring.user(public, LOOK_EVERY) is None
    assert ring.deadline() == 0.0, "the broker looks at once"
    keys.add(folder, "node", "gpu2")
    assert ring.user(public, 2 * LOOK_EVERY) is None
    assert ring.look(2 * LOOK_EVERY) == {public} and ring.look(3 * LOOK_EVERY) is None
    assert ring.deadline() > 0.0


def test_another_role_is_another_key(folder: Path) -> None:
    ring = Keyring(folder, shared=False)
    public = next(key for key, user in ring.users.items() if user.role == "admin")
    file = folder / "allowed/admin-admin.pub"
    text = file.read_text().replace('role = "admin"', 'role = "viewer"')
    file.unlink()
    file.write_text(text)
    assert ring.look(0.0) == {public} and ring.users[public].role == "viewer"


def test_a_folder_that_cannot_be_read_changes_nothing_until_it_can(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring = Keyring(folder, shared=False)
    before = dict(ring.users)
    keys.revoke(folder, "admin")
    folder.chmod(0o755)
    assert ring.look(0.0) is None and ring.look(LOOK_EVERY) is None and ring.users == before
    assert [record.message.partition(":")[0] for record in caplog.records] == ["the keys stay as they were"]
    folder.chmod(0o700)
    assert ring.look(2 * LOOK_EVERY) == {*before} - {*ring.users} != set()


def test_sinks_are_told_who_reads(folder: Path) -> None:
    keys.add(folder, "viewer", "eve")
    ring = Keyring(folder, shared=True)
    told = ring.tell(0.0, changed=False)
    assert told is not None and told.shared
    assert {(role, name) for _, role, name in told.readers} == {("admin", "admin"), ("viewer", "eve")}
    assert ring.tell(TELL_EVERY / 2, changed=False) is None
    assert ring.tell(TELL_EVERY / 2, changed=True) == told
    assert ring.tell(2 * TELL_EVERY, changed=False) == told
