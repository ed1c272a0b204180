"""A port that is free, and why an address cannot be bound."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from zturbo.errors import UsageError
from zturbo.runtime.net.binds import bind_failure, bind_problem, free_port


def test_afree_port_is_one_of_those_that_are_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", None) != port
        with pytest.raises(UsageError, match=f"all ports of 127.0.0.1 from {port} to {port} are in use"):
            free_port("127.0.0.1", (port, port))
        if port < 65535:
            assert free_port("127.0.0.1", (port, 65535)) > port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "*", "0.0.0.0", "[::1]"])
def test_an_address_that_can_be_bound_though_another_has_it_now(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert bind_problem(f"tcp://{host}:{server.getsockname()[1]}") == ""


def test_addresses_that_no_process_of_this_host_can_bind(tmp_path: Path) -> None:
    assert "192.0.2.77 is not an address of this host" in bind_problem("tcp://192.0.2.77:5555")
    assert bind_problem("tcp://nohost.invalid:5555").endswith("has a name that this host does not know")
    (tmp_path / "file").touch()
    for path, why in (
        ("none/socket", f"there is no folder {tmp_path}/none"),
        ("file/socket", f"there is no folder {tmp_path}/file"),
        (".", f"{tmp_path}/. is a folder"),
    ):
        assert f"cannot bind ipc://{tmp_path}/{path}: {why}" in bind_problem(f"ipc://{tmp_path}/{path}")
    assert bind_problem(f"ipc://{tmp_path}/socket") == "" == bind_problem("ipc://@zturbo-test")


def test_a_failure_is_a_sentence() -> None:
    assert "only root may listen at this port" in bind_failure("tcp://127.0.0.1:80", errno.EACCES)
    assert bind_failure("ipc:///none/socket", errno.ENOENT).endswith(
        "there is no folder /none: make it, or name another one"
    )
