"""A port that is free."""

from __future__ import annotations

import socket

import pytest

from zturbo.errors import UsageError
from zturbo.runtime.net.binds import free_port


def test_afree_port_is_one_of_those_that_are_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", None) != port
        with pytest.raises(UsageError, match=f"all ports of 127.0.0.1 from {port} to {port} are in use"):
            free_port("127.0.0.1", (port, port))
        if port < 65535:
            assert free_port("127.0.0.1", (port, 65535)) > port
