"""Which keys each host gets from the folder of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from zturbo.deploy.hostkeys import LOOKER, keys_of
from zturbo.deploy.network import HostSpec
from zturbo.errors import UsageError
from zturbo.runtime.net import keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.make_folder(tmp_path / "keys")
    return tmp_path / "keys"


def hosts(*names: str) -> tuple[HostSpec, ...]:
    return tuple(HostSpec(name, name) for name in names)


def test_the_first_host_has_the_brokers_and_each_other_one_its_own_alone(folder: Path) -> None:
    found = keys_of(folder, hosts("head", "b", "c"))
    assert {*found["b"]} == {"node-b.key"} and {*found["c"]} == {"node-c.key"}
    private = {"broker.key", f"node-{keys.LOCAL}.key", f"viewer-{LOOKER}.key"}
    assert {name for name in found["head"] if name.endswith(".key")} == private
    allowed = {name.removeprefix("allowed/") for name in found["head"]} - private
    assert allowed == {path.name for path in (folder / "allowed").iterdir()}
    assert {"node-b.pub", "node-c.pub", "admin-admin.pub"} <= allowed
    assert keys_of(folder, hosts("head", "b", "c")) == found, "a second time makes no other keys"


@pytest.mark.parametrize("name", [keys.LOCAL, keys.ADMIN, LOOKER])
def test_a_host_whose_name_a_key_of_each_folder_has(folder: Path, name: str) -> None:
    found = keys_of(folder, hosts("head", name))
    assert {*found[name]} == {f"node-host-{name}.key"}
    assert not {*found[name].values()} & {*found["head"].values()}, "it shares no secret with the first host"


def test_a_key_that_was_moved_away_is_named(folder: Path) -> None:
    keys_of(folder, hosts("head", "b"))
    (folder / "node-b.key").unlink()
    with pytest.raises(UsageError, match="'zturbo keys revoke b', and a new one is made"):
        keys_of(folder, hosts("head", "b"))
