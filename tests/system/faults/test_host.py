"""Hosts that are gone, and come back."""

from __future__ import annotations

import time

from tests.support.four_hosts import (
    N,
    Run,
)
from tests.support.hosts import Hosts


def test_a_host_that_is_cut_off_and_comes_back(hosts: Hosts) -> None:
    run = Run(hosts, 2 * N)
    run.until(500)
    hosts.unplug("c")
    began = time.monotonic()
    run.until(2000)
    print(f"others had taken over {time.monotonic() - began:.1f} s after the host was gone")
    hosts.plug("c")
    run.end()
    assert list(Run(hosts, 200).lines)[-1] == "all 200\n", "the next job is untouched by what comes late"
