"""The name of this host."""

from __future__ import annotations

from zturbo.runtime.net.host import host_name


def test_names_of_hosts_differ() -> None:
    assert host_name() != "elsewhere"
