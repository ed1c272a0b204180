"""Hosts that reach each other in their own ways: by some ports alone, by several addresses, by IPv6."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.cluster import eventually
from tests.support.four_hosts import NETWORK, some_hosts
from tests.support.hosts import Hosts

MAP = """
import sys
from zturbo import Client
with Client(sys.argv[1], timeout=30) as client:
    print(sum(client.map(range(50), pipeline="p")))
"""


def start(hosts: Hosts, file: str, broker: str, *more: str) -> None:
    """The broker and the first stage on a, the second stage and the sink on b."""
    hosts.run("a", "zturbo", "broker", file, "--insecure", *more)
    there = ("--broker", broker, "--insecure", *more)
    hosts.run("a", "zturbo", "stage", file, "p.first", *there)
    hosts.run("b", "zturbo", "stage", file, "p.second", *there)
    hosts.run("b", "zturbo", "sink", file, *there)


def on(hosts: Hosts, host: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", hosts.namespaces[host], sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def addresses(hosts: Hosts, broker: str) -> list[str]:
    """What all processes tell others, once there are four."""
    told: list[str] = []

    def there() -> bool:
        asked = on(hosts, "a", "-m", "zturbo", "hosts", "--json", "--broker", broker)
        if asked.returncode:
            return False
        processes = [process for host in json.loads(asked.stdout) for process in host["processes"]]
        told[:] = [end for one in processes for end in [*one["addresses"], *one["results"]]]
        return len(processes) == 4

    eventually(there)
    return [end for end in told if end.startswith("tcp:")]


@pytest.mark.timeout(120)
def test_some_ports_alone_and_a_second_address_that_leads_nowhere() -> None:
    broker = "tcp://10.99.0.1:5555"
    with some_hosts("ab") as (hosts, file):
        with open(file, "a") as more:
            more.write('\n[listen]\nports = "5600-5609"\n')
        for host in "ab":  # an address on no common network, which is told first
            hosts.ip(host, "addr", "add", f"172.31.{ord(host)}.1/32", "dev", "lo")
            own = f"172.31.{ord(host)}.1,{hosts.address[host]}"
            there = ("--broker", broker, "--insecure", "--address", own)
            if host == "a":
                hosts.run("a", "zturbo", "broker", file, "--insecure", "--address", own)
                hosts.run("a", "zturbo", "stage", file, "p.first", *there)
            else:
                hosts.run("b", "zturbo", "stage", file, "p.second", *there)
                hosts.run("b", "zturbo", "sink", file, *there)
        told = addresses(hosts, broker)
        assert all(5600 <= int(end.rpartition(":")[2]) <= 5609 for end in told), told
        assert len(told) == 10 and sum("//172.31." in end for end in told) == 5
        done = on(hosts, "a", "-c", MAP, broker)
        assert done.stdout == f"{sum(range(50))}\n", done.stderr


@pytest.mark.timeout(120)
def test_hosts_with_link_local_addresses_alone() -> None:
    with some_hosts("ab") as (hosts, file):
        for host, number in (("a", 1), ("b", 2)):
            hosts.ip(host, "addr", "flush", "dev", "eth0")
            hosts.ip(host, "addr", "add", f"fe80::{number}/64", "dev", "eth0", "nodad")
        with open(file, "w") as whole:
            whole.write(
                NETWORK.format(folder=hosts.folder, lease=4.0).replace(
                    "tcp://10.99.0.1", "tcp://[fe80::1%eth0]"
                )
            )
        broker = "tcp://[fe80::1%eth0]:5555"
        start(hosts, file, broker)
        told = addresses(hosts, broker)
        assert told and all(end.startswith(("tcp://[fe80::1]:", "tcp://[fe80::2]:")) for end in told), told
        done = on(hosts, "a", "-c", MAP, broker)
        assert done.stdout == f"{sum(range(50))}\n", done.stderr
